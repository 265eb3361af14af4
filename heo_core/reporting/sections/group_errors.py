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
from heo_core.reporting.wording import join_words

_DRAWN = ("forces_mae_ev_per_ang", "energy_offset_removed_mae_ev_per_atom", "energy_mae_ev_per_atom")
_LISTED = (*_DRAWN, "zero_force_rmse_ev_per_ang", "forces_softening_slope")
_LARGER_THAN_RAW = (
    "Where model and labels count energies from one zero, the error with the offset removed may be larger than the one "
    "as it is: the offset comes from other chemical systems."
)
_GROUPINGS = {"element": "Element", "n_elements": "Number of elements", "source": "Source"}


def make_group_blocks(data: ReportData, styles: Mapping[str, ModelStyle], benchmark: str) -> list[Block]:
    """Return pictures and a table of the errors by group on one benchmark; none where they are not known."""
    rows = data.group_metrics[data.group_metrics["benchmark"] == benchmark]
    names = [name for name in _DRAWN if rows.loc[rows["name"] == name, "value"].notna().any()]
    labels = list(dict.fromkeys(rows["label"].astype(str)))
    if not names:
        return []
    key, n_groups = make_key(benchmark), rows.groupby("grouping")["group_name"].nunique()
    # The errors of a group that holds all structures are those of the benchmark.
    told = [grouping for grouping in _GROUPINGS if n_groups.get(grouping, 0) > 1]
    blocks: list[Block] = []
    if "element" in told:
        blocks.append(Panels([_make_element_panel(rows, names, label, key) for label in labels], size="wide"))
    others = [_make_group_panel(rows, styles, names, grouping, key) for grouping in told if grouping != "element"]
    return [
        *blocks,
        *([Panels(others)] if others else []),
        *([_make_group_table(rows, told, labels, key, benchmark)] if told else []),
    ]


def _make_element_panel(rows: pd.DataFrame, names: list[str], label: str, key: str) -> Panel:
    drawn = {name: figures.plot_element_errors(rows, label, name) for name in names}
    return Panel(
        f"element-errors-{key}-{make_key(label)}",
        f"Errors of {label} by element.",
        "Forces on the atoms of the element, energies of the structures that hold it; point at one for the number of "
        "structures. All models have the same scale; its end stands for the worst twentieth of the elements. "
        + _LARGER_THAN_RAW,
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


def _make_group_table(rows: pd.DataFrame, groupings: list[str], labels: list[str], key: str, benchmark: str) -> Table:
    """One row a group of each of the groupings."""
    columns = [Column("Grouped by", numeric=False), Column("Group", numeric=False), Column("Structures")]
    for label in labels:
        columns += [Column(get_quantity(name).title, get_quantity(name).unit, label) for name in _LISTED]
    values = {
        (row["grouping"], row["group_name"], row["label"], row["name"]): (row["value"], row["n"])
        for row in rows.to_dict("records")
    }
    groups = dict.fromkeys((grouping, group) for grouping, group, _, _ in values if grouping in groupings)
    body = []
    for grouping, group in sorted(groups, key=lambda pair: groupings.index(pair[0])):
        found = [[values.get((grouping, group, label, name), (None, 0)) for name in _LISTED] for label in labels]
        cells = [Cell(_GROUPINGS[grouping]), Cell(str(group)), make_count_cell(max(n for one in found for _, n in one))]
        for one in found:
            cells += [make_shown_cell(value, name) for name, (value, _) in zip(_LISTED, one, strict=True)]
        body.append(Row(cells))
    title = f"Errors on {benchmark} by {join_words([_GROUPINGS[grouping].lower() for grouping in groupings])}"
    return Table(f"groups-{key}", title, columns, body, _LARGER_THAN_RAW, folded=True)
