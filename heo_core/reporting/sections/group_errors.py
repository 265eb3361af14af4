"""Where the errors are: by element, by number of elements, by source."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from heo_core.reporting import figures
from heo_core.reporting.blocks import Block, Cell, Choice, Column, Panel, Panels, Row, Table
from heo_core.reporting.data import ReportData
from heo_core.reporting.palette import ModelStyle
from heo_core.reporting.quantities import get_quantity
from heo_core.reporting.sections.benchmark_titles import make_key
from heo_core.reporting.sections.cells import make_count_cell, make_shown_cell

_DRAWN = ("forces_mae_ev_per_ang", "energy_offset_removed_mae_ev_per_atom", "energy_mae_ev_per_atom")
_LISTED = (*_DRAWN, "zero_force_rmse_ev_per_ang", "forces_softening_slope")
_GROUPINGS = {"element": "Element", "n_elements": "Number of elements", "source": "Source"}


def make_group_blocks(data: ReportData, styles: Mapping[str, ModelStyle], benchmark: str) -> list[Block]:
    """Return pictures and a table of the errors by group on one benchmark; none where they are not known."""
    rows = data.group_metrics[data.group_metrics["benchmark"] == benchmark]
    names = [name for name in _DRAWN if rows.loc[rows["name"] == name, "value"].notna().any()]
    labels = list(dict.fromkeys(rows["label"].astype(str)))
    if not names:
        return []
    key = make_key(benchmark)
    return [
        Panels([_make_element_panel(rows, names, label, key) for label in labels], size="wide"),
        Panels([_make_group_panel(rows, styles, names, grouping, key) for grouping in ("n_elements", "source")]),
        _make_group_table(rows, labels, key, benchmark),
    ]


def _make_element_panel(rows: pd.DataFrame, names: list[str], label: str, key: str) -> Panel:
    drawn = {name: figures.plot_element_errors(rows, label, name) for name in names}
    return Panel(
        f"element-errors-{key}-{make_key(label)}",
        f"Errors of {label} by element.",
        "Forces on the atoms of the element, energies of the structures that hold it; point at one for the number of "
        "structures. All models have the same scale; its end stands for the worst twentieth of the elements.",
        drawn[names[0]],
        height=430,
        choices=_make_choices(drawn, ("z", "text", "hovertext", "zmax", "colorbar.title.text", "meta")),
        choose="Show",
    )


def _make_group_panel(
    rows: pd.DataFrame, styles: Mapping[str, ModelStyle], names: list[str], grouping: str, key: str
) -> Panel:
    drawn = {name: figures.plot_group_errors(rows, styles, grouping, name) for name in names}
    title = f"Errors by {_GROUPINGS[grouping].lower()}."
    caption = "Mean over all force components of each group, over its structures for energies; small groups say little."
    choices = _make_choices(drawn, ("x", "y", "customdata", "hovertemplate", "showlegend"))
    return Panel(
        f"{grouping}-errors-{key}".replace("_", "-"), title, caption, drawn[names[0]], choices=choices, choose="Show"
    )


def _make_choices(drawn: Mapping[str, go.Figure], attributes: tuple[str, ...]) -> list[Choice]:
    """Return the figures as ways to show the first of them: what changes in each trace, and the axes' titles."""
    return [
        Choice(
            get_quantity(name).title,
            {attribute: [trace[attribute] for trace in figure.data] for attribute in attributes},
            {"yaxis.title.text": figure.layout.yaxis.title.text},
        )
        for name, figure in drawn.items()
    ]


def _make_group_table(rows: pd.DataFrame, labels: list[str], key: str, benchmark: str) -> Table:
    columns = [Column("Grouped by", numeric=False), Column("Group", numeric=False), Column("Structures")]
    for label in labels:
        columns += [Column(get_quantity(name).title, get_quantity(name).unit, label) for name in _LISTED]
    values = {
        (row["grouping"], row["group_name"], row["label"], row["name"]): (row["value"], row["n"])
        for row in rows.to_dict("records")
    }
    groups = dict.fromkeys((grouping, group) for grouping, group, _, _ in values)
    body = []
    for grouping, group in sorted(groups, key=lambda pair: list(_GROUPINGS).index(pair[0])):
        found = [[values.get((grouping, group, label, name), (None, 0)) for name in _LISTED] for label in labels]
        cells = [Cell(_GROUPINGS[grouping]), Cell(str(group)), make_count_cell(max(n for one in found for _, n in one))]
        for one in found:
            cells += [make_shown_cell(value, name) for name, (value, _) in zip(_LISTED, one, strict=True)]
        body.append(Row(cells))
    title = f"Errors on {benchmark} by element, number of elements and source"
    return Table(f"groups-{key}", title, columns, body, folded=True)
