"""How structures relaxed: speed, course, and where they ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from heo_core.reporting.data import as_number, is_true
from heo_core.reporting.figures.canvas import (
    HOVER_ID,
    Array,
    Styles,
    add_points,
    by_label,
    describe_points,
    hover_ids,
    make_figure,
    make_marker,
    mark_zero,
    spread_places,
    thin_out,
    to_array,
    use_log_axis,
    with_numbers,
)
from heo_core.reporting.palette import INK, formula_markup, get_style, mix, plain

MAX_LINES = 40
_MAX_JOINED_CASES = 80
_MAX_NAMED_COLUMNS = 2
RATES = {
    "success_at_25": "within 25 calls",
    "success_at_50": "within 50 calls",
    "success_at_100": "within 100 calls",
    "success_at_200": "within 200 calls",
    "convergence_rate": "in the end",
}
"""Rates of convergence that are drawn with their intervals, and what each is called."""


def plot_convergence(relaxations: pd.DataFrame, styles: Styles) -> go.Figure:
    """Share of all structures that have converged within N force calls; failures count as not converged."""
    figure = make_figure("Force calls", "Structures converged (%)")
    last = as_number(pd.to_numeric(relaxations["force_calls"], errors="coerce").max()) or 1.0
    for label, rows in by_label(relaxations):
        converged = rows[is_true(rows["converged"])]
        calls = np.sort(with_numbers(converged, "force_calls")["force_calls"].to_numpy())
        n_converged = np.concatenate([np.arange(len(calls) + 1), [len(calls)]])
        style = get_style(styles, label)
        figure.add_scatter(
            x=np.concatenate([[0.0], calls, [last]]).astype(np.float32),
            y=(100 * n_converged / len(rows)).astype(np.float32),
            mode="lines",
            name=plain(label),
            line={"color": style.colour, "dash": style.dash, "width": 2.4, "shape": "hv"},
            customdata=n_converged.astype(np.int32),
            hovertemplate=f"%{{customdata}} of {len(rows)} within %{{x:.0f}} force calls<extra>{plain(label)}</extra>",
        )
    figure.update_yaxes(range=[0, 104])
    figure.update_xaxes(range=[0, 1.03 * last])
    return figure


def plot_fmax_descent(relaxations: pd.DataFrame, styles: Styles, fmax: float | None = None) -> go.Figure:
    """Largest force against force calls: thin lines are structures, thick ones their median; fmax: the limit, eV/Å.

    Rows as `choose_courses` has them.
    """
    figure = make_figure("Force calls", "Largest force on an atom (meV/Å)")
    _add_courses(figure, relaxations, styles, _get_fmax_course, "%{y:.1f} meV/Å after %{x} force calls")
    if not figure.data:
        return figure
    limits = [] if fmax is None else [fmax * 1000]
    use_log_axis(figure.layout.yaxis, np.concatenate([*(trace.y for trace in figure.data), limits]))
    for limit in limits:
        figure.add_shape(
            type="line", xref="paper", x0=0, x1=1, y0=limit, y1=limit, line={"color": INK, "width": 1, "dash": "dot"}
        )
    return figure


def plot_energy_descent(relaxations: pd.DataFrame, styles: Styles) -> go.Figure:
    """Each model's own energy above its final one against force calls, of rows as `choose_courses` has them."""
    figure = make_figure("Force calls", "Energy above the last (meV/atom)")
    _add_courses(figure, relaxations, styles, _get_energy_course, "%{y:.1f} meV/atom after %{x} force calls")
    return figure


def _get_fmax_course(row: Any) -> Array:
    return np.asarray(row.fmaxes_ev_per_ang, dtype=np.float32) * np.float32(1000)


def _get_energy_course(row: Any) -> Array:
    energies = np.asarray(row.energies_ev, dtype=float)
    return np.asarray((energies - energies[-1]) / row.n_atoms * 1000, dtype=np.float32)


def choose_courses(relaxations: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose course was recorded and came to a final state: a wreck's would pull lines and median."""
    recorded = pd.Series([_has_course(row) for row in relaxations.itertuples()], index=relaxations.index, dtype=bool)
    return with_numbers(relaxations[recorded], "fmax_ev_per_ang")


def _add_courses(
    figure: go.Figure, relaxations: pd.DataFrame, styles: Styles, get_course: Callable[[Any], Array], numbers: str
) -> None:
    """Add the course of every structure, then each model's median on top of them all."""
    medians = []
    for label, rows in by_label(choose_courses(relaxations)):
        recorded = list(rows.itertuples())
        courses = [get_course(row) for row in recorded]
        figure.add_traces(list(_make_thin_lines(label, styles, recorded, courses, numbers)))
        medians.append(_make_median_line(label, styles, courses, numbers))
    figure.add_traces(medians)


def _make_thin_lines(
    label: str, styles: Styles, rows: Sequence[Any], courses: Sequence[Array], numbers: str
) -> Iterator[go.Scatter]:
    colour = mix(get_style(styles, label).colour, "#FFFFFF", 0.45)
    for row, course in list(zip(rows, courses, strict=True))[:MAX_LINES]:
        yield go.Scatter(
            x=np.arange(1, len(course) + 1, dtype=np.int32),
            y=course,
            mode="lines",
            legendgroup=plain(label),
            name=plain(label),
            showlegend=False,
            line={"color": colour, "width": 1},
            meta={
                "about": {"formula": formula_markup(row.formula_reduced), "id": plain(row.case_id)},
                "view": "any_structure",
            },
            hovertemplate=f"<b>{formula_markup(row.formula_reduced)}</b><br>{plain(row.case_id)}<br>{numbers}"
            f"<extra>{plain(label)}</extra>",
        )


def _make_median_line(label: str, styles: Styles, courses: Sequence[Array], numbers: str) -> go.Scatter:
    """Return the median at each force call; a structure that has ended keeps its last value."""
    longest = max(len(course) for course in courses)
    padded = np.stack([np.pad(course, (0, longest - len(course)), mode="edge") for course in courses])
    style = get_style(styles, label)
    return go.Scatter(
        x=np.arange(1, longest + 1, dtype=np.int32),
        y=np.median(padded, axis=0).astype(np.float32),
        mode="lines",
        legendgroup=plain(label),
        name=plain(label),
        line={"color": style.colour, "width": 2.6, "dash": style.dash},
        meta={"series": f"{plain(label)}, median"},
        hovertemplate=f"median: {numbers}<extra>{plain(label)}</extra>",
    )


def _has_course(row: Any) -> bool:
    return all(
        isinstance(values, list | tuple | np.ndarray) and len(values) > 0
        for values in (row.energies_ev, row.fmaxes_ev_per_ang)
    )


def plot_rates(metrics: pd.DataFrame, styles: Styles) -> go.Figure:
    """Share of the structures that converged, in the end and within N force calls, with its interval, by model.

    metrics: the rows of one benchmark, in the columns of `COLUMNS["metrics"]`.
    """
    names = [name for name in RATES if name in set(metrics["name"])]
    figure = make_figure("Structures converged (%)", "")
    labels = [label for label, _ in by_label(metrics)]
    for place, (label, rows) in enumerate(by_label(metrics)):
        found = with_numbers(rows[rows["name"].isin(names)], "value")
        value, low, high = (to_array(found[column], 100) for column in ("value", "ci_low", "ci_high"))
        offset = 0.5 * ((place + 0.5) / len(labels) - 0.5)
        style = get_style(styles, label)
        figure.add_scatter(
            x=value,
            y=np.array([names.index(name) + offset for name in found["name"]], dtype=np.float32),
            error_x={"array": high - value, "arrayminus": value - low, "thickness": 1.6, "width": 4},
            mode="markers",
            name=plain(label),
            marker=make_marker(style, 9),
            customdata=[
                [plain(RATES[name]), int(n), *_describe_interval(a, b)]
                for name, n, a, b in zip(found["name"], found["n"], low, high, strict=True)
            ],
            meta={"columns": ["rate", "structures", "95 % low (%)", "95 % high (%)"]},
            hovertemplate="%{customdata[0]}: %{x:.0f} % of %{customdata[1]}, 95 % interval %{customdata[4]}"
            f"<extra>{plain(label)}</extra>",
        )
    figure.update_xaxes(range=[-3, 103])
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[RATES[name] for name in names],
        range=[len(names) - 0.4, -0.6],
        showgrid=False,
        ticks="",
    )
    return figure


def _describe_interval(low: float, high: float) -> tuple[float | None, float | None, str]:
    """Return both ends, per cent, and the two in words; None where no interval is known."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return None, None, "unknown"
    return round(float(low), 4), round(float(high), 4), f"{low:.0f} to {high:.0f}"


def plot_rmsd_distribution(
    relaxations: pd.DataFrame, styles: Styles, column: str = "displacement_rmsd_ang", title: str = "RMSD (Å)"
) -> go.Figure:
    """Share of all structures that ended closer to their reference than x; one without a number never does."""
    figure = make_figure(title, "Structures (%)")
    for label, rows in by_label(relaxations):
        known = with_numbers(rows, column).sort_values(column)
        known = known.iloc[spread_places(len(known))] if len(known) else known
        rank = pd.to_numeric(rows[column], errors="coerce").rank(method="max")
        style = get_style(styles, label)
        figure.add_scatter(
            x=to_array(known[column]),
            y=to_array(rank.loc[known.index], 100 / len(rows)),
            mode="lines",
            name=plain(label),
            line={"color": style.colour, "dash": style.dash, "width": 2.4, "shape": "hv"},
            customdata=hover_ids(known),
            meta=describe_points(known),
            hovertemplate=f"{HOVER_ID}%{{x:.4f}}, %{{y:.0f}} % of {len(rows)} are as close"
            f"<extra>{plain(label)}</extra>",
        )
    figure.update_yaxes(range=[0, 104])
    figure.update_xaxes(rangemode="tozero")
    return figure


def plot_displacement(relaxations: pd.DataFrame, styles: Styles) -> go.Figure:
    """Distance of each relaxed structure from its reference by model; thin lines join the same structure."""
    figure = _make_strip(
        relaxations, styles, "displacement_rmsd_ang", factor=1.0, title="Displacement RMSD (Å)", numbers="%{y:.4f} Å"
    )
    figure.update_yaxes(rangemode="tozero")
    return figure


def plot_volume_change(relaxations: pd.DataFrame, styles: Styles) -> go.Figure:
    """Signed volume change of each structure by model; thin lines join the same structure."""
    figure = _make_strip(
        relaxations, styles, "volume_change_fraction", factor=100.0, title="Volume change (%)", numbers="%{y:+.2f} %"
    )
    mark_zero(figure)
    return figure


def _make_strip(
    relaxations: pd.DataFrame, styles: Styles, column: str, *, factor: float, title: str, numbers: str
) -> go.Figure:
    figure = make_figure("Model", title)
    drawn = with_numbers(relaxations, column)
    labels = [label for label, _ in by_label(drawn)]
    cases = sorted(drawn["case_index"].unique())
    offsets = {case: 0.36 * (i / max(len(cases) - 1, 1) - 0.5) for i, case in enumerate(cases)}
    if len(labels) > 1 and len(cases) <= _MAX_JOINED_CASES:
        figure.add_trace(_make_case_lines(drawn, labels, offsets, column, factor))
    for place, (label, every) in enumerate(by_label(drawn)):
        rows = thin_out(every, every[column].abs())
        x = np.array([place + offsets[case] for case in rows["case_index"]], dtype=np.float32)
        add_points(figure, label, styles, rows, x=x, y=to_array(rows[column], factor), numbers=numbers, size=8)
        figure.add_scatter(
            x=[place - 0.26, place + 0.26],
            y=[float(every[column].median()) * factor] * 2,
            mode="lines",
            line={"color": get_style(styles, label).colour, "width": 3},
            name="median",
            meta={"series": f"{plain(label)}, median"},
            showlegend=False,
            hovertemplate=f"median {numbers}<extra>{plain(label)}</extra>",
        )
    _name_columns(figure, labels)
    return figure


def _name_columns(figure: go.Figure, labels: Sequence[str]) -> None:
    """Name the models below the axis, or in a legend when they are too many to stand side by side."""
    few = len(labels) <= _MAX_NAMED_COLUMNS
    if few:
        figure.update_traces(showlegend=False)
        figure.update_layout(margin={"t": 12})
    figure.update_xaxes(
        tickvals=list(range(len(labels))),
        ticktext=[plain(label) if few else "" for label in labels],
        range=[-0.6, len(labels) - 0.4],
        showgrid=False,
    )


def _make_case_lines(
    drawn: pd.DataFrame, labels: Sequence[str], offsets: Mapping[Any, float], column: str, factor: float
) -> go.Scatter:
    x: list[float | None] = []
    y: list[float | None] = []
    for case, rows in drawn.groupby("case_index", sort=True):
        for label, value in zip(rows["label"].astype(str), rows[column] * factor, strict=True):
            x.append(labels.index(label) + offsets[case])
            y.append(float(value))
        x.append(None)
        y.append(None)
    return go.Scatter(
        x=x, y=y, mode="lines", line={"color": "#C6CDD4", "width": 1}, hoverinfo="skip", name="pairs", showlegend=False
    )


def plot_paired_energy_differences(
    relaxations: pd.DataFrame, styles: Styles, baseline: str, intervals: Mapping[str, tuple[float, float]] | None = None
) -> go.Figure:
    """Energy of each relaxed cell under the common reference, candidate minus baseline, in order of size.

    intervals: 95 % interval of the mean difference by candidate, eV/atom, drawn as a band; the line in it is the mean.
    """
    figure = make_figure("Relaxed cells in order of the difference", "Candidate − baseline (meV/atom)")
    n_cells = 1
    for candidate, pairs in compute_energy_differences(relaxations, baseline).items():
        colour = get_style(styles, candidate).colour
        n_cells = max(n_cells, len(pairs))
        x, y = np.arange(1, len(pairs) + 1, dtype=np.float32), to_array(pairs["difference"], 1000)
        add_points(
            figure, candidate, styles, pairs, x=x, y=y, numbers="%{y:+.2f} meV/atom against the baseline", size=9
        )
        figure.add_hline(y=float(y.mean()), line={"color": colour, "width": 1.6}, layer="below")
        interval = (intervals or {}).get(candidate)
        if interval:
            low, high = (1000 * bound for bound in interval)
            figure.add_hrect(y0=low, y1=high, fillcolor=colour, opacity=0.13, line_width=0, layer="below")
    figure.update_xaxes(dtick=max(1, n_cells // 10), range=[0.4, n_cells + 0.6], showgrid=False)
    figure.update_yaxes(rangemode="tozero")
    mark_zero(figure)
    return figure


def compute_energy_differences(relaxations: pd.DataFrame, baseline: str) -> dict[str, pd.DataFrame]:
    """Return each candidate's rows that the baseline has too, ordered by `difference` of reference energy, eV/atom."""
    drawn = with_numbers(relaxations, "reference_energy_ev_per_atom")
    parent = drawn[drawn["label"] == baseline].drop_duplicates("case_index").set_index("case_index")
    result: dict[str, pd.DataFrame] = {}
    for label, rows in by_label(drawn[drawn["label"] != baseline]):
        paired = rows[rows["case_index"].isin(parent.index)]
        energies = parent.loc[paired["case_index"], "reference_energy_ev_per_atom"].to_numpy(dtype=float)
        difference = paired["reference_energy_ev_per_atom"].to_numpy(dtype=float) - energies
        if len(paired):
            result[label] = paired.assign(difference=difference).sort_values("difference")
    return result
