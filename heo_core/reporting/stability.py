"""The map of mixtures: enthalpy of mixing against the spread of bonds, and the table behind it, as one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from heo_core.params import StabilityParams
from heo_core.reporting.blocks import Cell, Choice, Column, Facts, Panel, Panels, Row, Section, Table
from heo_core.reporting.cautions import Caution
from heo_core.reporting.figures.canvas import make_figure
from heo_core.reporting.page import assemble_page
from heo_core.reporting.palette import CANDIDATE_COLOURS, CANDIDATE_SYMBOLS, MUTED, plain
from heo_core.reporting.quantities import format_number
from heo_core.reporting.wording import count_nouns, join_words
from heo_core.stability.oxides import Oxide

_FAINT = 0.08
_MOST_NAMED = 30  # more names would lie over each other
_MEV = 1000.0

# Column of stability_map, title, unit, factor, digits.
_NUMBERS = (
    ("mixing_enthalpy_ev_per_atom", "H_mix", "meV/atom", _MEV, 1),
    ("mixing_enthalpy_sem_ev_per_atom", "± of H_mix", "meV/atom", _MEV, 1),
    ("mixing_enthalpy_ev_per_cation", "H_mix", "meV/cation", _MEV, 1),
    ("bond_spread_ang", "σ_bond", "Å", 1.0, 4),
    ("bond_spread_sem_ang", "± of σ_bond", "Å", 1.0, 4),
    ("radius_mismatch_percent", "δ", "%", 1.0, 2),
    ("entropy_r", "S_config", "R/cation", 1.0, 3),
    ("mixing_temperature_k", "T*", "K", 1.0, 0),
    ("decomposition_energy_ev_per_atom", "Above the oxides", "meV/atom", _MEV, 1),
)


@dataclass(frozen=True)
class StabilityMap:
    """Everything that the page shows.

    rows: of the view stability_map, one study against one set of oxides. oxides: all that the model relaxed.
    references: those that the enthalpies count from. study: the protocol of the cells and the model.
    """

    rows: Sequence[Mapping[str, Any]]
    oxides: Sequence[Oxide]
    references: Mapping[str, Oxide]
    study: Mapping[str, Any]
    params: StabilityParams
    generated_at: datetime
    heo_version: str
    dataset: None = None

    @property
    def title(self) -> str:
        """Heading of the page."""
        return f"Mixtures on {self.params.prototype}, {self.study['model']}, against {self.params.references}"

    @property
    def models(self) -> list[str]:
        """The one model."""
        return [str(self.study["model"])]


def render_map(data: StabilityMap) -> str:
    """Return the whole page as one self-contained HTML file; no text of the data becomes markup or code."""
    answer = summarise_map(data.rows)
    return assemble_page(
        data,
        headline=answer[0],
        answers=[],
        cautions=_list_cautions(data),
        marks=[],
        sections=[_build_map(data), _build_oxides(data), _build_method(data)],
        styles={},
    )


def summarise_map(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the map says: the lowest enthalpy for each number of cations, and which mixture bends bonds most."""
    known = [row for row in rows if row["mixing_enthalpy_ev_per_atom"] is not None]
    missing = len(rows) - len(known)
    if not known:
        return [f"None of {count_nouns(len(rows), 'mixture')} has an enthalpy yet."]
    parts = []
    for n in sorted({row["n_cations"] for row in known}):
        some = [row for row in known if row["n_cations"] == n]
        lowest = min(some, key=lambda row: row["mixing_enthalpy_ev_per_atom"])
        value = format_number(_MEV * lowest["mixing_enthalpy_ev_per_atom"], 1)
        parts.append(f"{lowest['composition']} ({value} meV/atom, of {len(some)} with {count_nouns(n, 'cation')})")
    sentence = f"Lowest enthalpy of mixing: {join_words(parts)}."
    return [sentence + (f" {count_nouns(missing, 'mixture')} without a number." if missing else "")]


def plot_map(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Draw each mixture by its spread of bonds and its enthalpy, a series for each number of cations."""
    figure = make_figure("Spread of cation-oxygen bonds σ_bond, Å", "Enthalpy of mixing, meV/atom")
    for place, (n, some) in enumerate(_split(rows)):
        figure.add_scatter(
            x=[row["bond_spread_ang"] for row in some],
            y=[_MEV * row["mixing_enthalpy_ev_per_atom"] for row in some],
            error_x=_make_bars([row["bond_spread_sem_ang"] for row in some]),
            error_y=_make_bars([_scale(row["mixing_enthalpy_sem_ev_per_atom"]) for row in some]),
            mode="markers+text" if len(some) <= _MOST_NAMED else "markers",
            text=[plain(row["composition"]) for row in some],
            textposition="top center",
            textfont={"size": 10, "color": MUTED},
            name=count_nouns(n, "cation"),
            marker={
                "color": CANDIDATE_COLOURS[place % len(CANDIDATE_COLOURS)],
                "symbol": CANDIDATE_SYMBOLS[place % len(CANDIDATE_SYMBOLS)],
                "size": 9,
                "opacity": [1.0] * len(some),
                "line": {"width": 0.7, "color": "#FFFFFF"},
            },
            customdata=[[plain(row["composition"]), *(_spell(row, number) for number in _NUMBERS)] for row in some],
            meta={"columns": ["composition", *(f"{title} ({unit})" for _, title, unit, _, _ in _NUMBERS)]},
            hovertemplate=(
                "<b>%{customdata[0]}</b><br>H_mix %{customdata[1]} ± %{customdata[2]} meV/atom "
                "(%{customdata[3]} meV/cation)<br>σ_bond %{customdata[4]} ± %{customdata[5]} Å<br>"
                "δ %{customdata[6]} %, S_config %{customdata[7]} R<br>T* %{customdata[8]} K<br>"
                "%{customdata[9]} meV/atom above the oxides"
                "<extra></extra>"
            ),
        )
    return figure


def _split(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, list[Mapping[str, Any]]]]:
    """Rows that have a place on the map, by number of cations."""
    placed = [row for row in rows if None not in (row["mixing_enthalpy_ev_per_atom"], row["bond_spread_ang"])]
    return [(n, [row for row in placed if row["n_cations"] == n]) for n in sorted({row["n_cations"] for row in placed})]


def _list_filters(rows: Sequence[Mapping[str, Any]]) -> list[Choice]:
    """All mixtures, those with a cation, those without; the others turn faint."""
    series = [some for _, some in _split(rows)]
    cations = list(dict.fromkeys(cation for _, some in _split(rows) for row in some for cation in row["cations"]))
    kinds: list[tuple[str, str, bool]] = [("all mixtures", "", False)]
    kinds += [(f"{word} {c}", c, word == "with") for word in ("with", "without") for c in sorted(cations)]
    choices = []
    for name, cation, wanted in kinds:
        shown = [
            [1.0 if not cation or (cation in row["cations"]) == wanted else _FAINT for row in some] for some in series
        ]
        choices.append(Choice(name, {"marker.opacity": shown}, {}))
    return choices


def _build_map(data: StabilityMap) -> Section:
    panel = Panel(
        "stability-map",
        "Enthalpy of mixing and spread of bonds.",
        "Each point is a mixture in equal shares; bars are standard errors over its cells. A click on the legend hides "
        "a number of cations.",
        plot_map(data.rows),
        height=520,
        choices=_list_filters(data.rows),
        choose="Show",
    )
    columns = [Column("Mixture", numeric=False), *(Column(title, unit) for _, title, unit, _, _ in _NUMBERS)]
    columns += [Column("Cells", hint="converged of relaxed"), Column("Remark", numeric=False)]
    rows = [
        Row(
            [
                Cell(row["composition"]),
                *(Cell(_spell(row, number) or "–", order=_scale(row[number[0]], number[3])) for number in _NUMBERS),
                Cell(f"{row['n_converged']} of {row['n_cells']}", order=row["n_converged"]),
                Cell(row["failure"] or ""),
            ]
        )
        for row in data.rows
    ]
    lead = (
        "Low and left is easy to form; a large spread of bonds is strain that the crystal must bear. A mixture is held "
        "by entropy where its T* is below the temperature of synthesis."
    )
    table = Table("mixtures", "All mixtures", columns, rows, caption="Means over converged cells.")
    return Section("map", "Map", lead, [Panels([panel], size="full"), table])


def _build_oxides(data: StabilityMap) -> Section:
    columns = [Column("Cation", numeric=False), Column("Crystal", numeric=False), Column("Energy", "eV/atom")]
    columns += [Column("Counted from", numeric=False), Column("Remark", numeric=False)]
    named = {(oxide.cation, oxide.polymorph) for oxide in data.references.values()}
    published = [oxide for oxide in data.references.values() if oxide not in data.oxides]
    rows = [
        Row(
            [
                Cell(oxide.cation),
                Cell(oxide.polymorph),
                Cell(
                    "–" if oxide.energy_ev_per_atom is None else f"{oxide.energy_ev_per_atom:.4f}",
                    order=oxide.energy_ev_per_atom,
                ),
                Cell("yes" if (oxide.cation, oxide.polymorph) in named else ""),
                Cell(oxide.failure or ""),
            ]
        )
        for oxide in [*published, *data.oxides]
    ]
    lead = "The value of an enthalpy of mixing is decided by the oxides that it counts from."
    return Section("oxides", "Oxides", lead, [Table("oxides-table", "Oxides of one cation", columns, rows)])


def _build_method(data: StabilityMap) -> Section:
    facts = [(name.replace("_", " "), str(value)) for name, value in data.study.items() if name != "relax"]
    facts += [(f"relaxed with {name.replace('_', ' ')}", str(value)) for name, value in data.study["relax"].items()]
    facts.append(("references", data.params.references))
    lead = "How the cells were made and relaxed; docs/stability.md defines every number."
    return Section("method", "Method", lead, [Facts("Protocol", facts)])


def _list_cautions(data: StabilityMap) -> list[Caution]:
    cautions = [
        Caution(
            "overshoot",
            True,
            "A potential's enthalpy is not the experiment's",
            "For MgCoNiCuZn on rock salt CHGNet 0.3.0 gives 91 meV/atom against published oxides; calorimetry gives "
            "35.9. Read the order of mixtures, and differences between them.",
        ),
        Caution(
            "binaries",
            True,
            "Only oxides of one cation compete here",
            "T* and the energy above the oxides count no spinel, no other solid solution and no change of charge: a "
            "mixture that looks stable here may still decompose.",
        ),
    ]
    failed = [row["composition"] for row in data.rows if row["failure"]]
    if failed:
        named = ", ".join(failed[:5]) + (", ..." if len(failed) > 5 else "")
        text = f"{count_nouns(len(failed), 'mixture')} ({named}): the table says why."
        cautions.append(Caution("missing", False, "Cells or numbers are missing", text))
    return cautions


def _scale(value: float | None, factor: float = _MEV) -> float | None:
    return None if value is None else factor * value


def _spell(row: Mapping[str, Any], number: tuple[str, str, str, float, int]) -> str | None:
    column, _, _, factor, digits = number
    return None if row[column] is None else format_number(factor * row[column], digits)


def _make_bars(values: Sequence[float | None]) -> dict[str, Any]:
    array = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce").to_numpy(dtype=float)
    return {"type": "data", "array": np.nan_to_num(array), "thickness": 1, "width": 0, "color": "#AEB6BE"}
