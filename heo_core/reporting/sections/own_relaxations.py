"""Structures that users relaxed with the models of the report: results, no benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from heo_core.reporting.blocks import Block, Cell, Column, Heading, Row, Table
from heo_core.reporting.data import ReportData, as_number, as_text, is_true
from heo_core.reporting.palette import ModelStyle, get_style
from heo_core.reporting.quantities import format_number
from heo_core.reporting.sections.before_after import make_before_after
from heo_core.reporting.sections.cells import NONE, make_count_cell, make_error_cell

_LISTED = 300


def make_own_relaxations(data: ReportData, styles: Mapping[str, ModelStyle]) -> Iterator[Block]:
    """Yield what users relaxed with these models, the newest job first; nothing where there is none."""
    rows, n_all = data.own_relaxations.head(_LISTED), max(len(data.own_relaxations), data.n_own_relaxations)
    if rows.empty:
        return
    caption = "Results of heo relax with these models, the newest first. They compare nothing and count nowhere else."
    if n_all > len(rows):
        caption += f" These are {len(rows):,} of {n_all:,}; the others are in the database."
    yield Heading("Structures of your own", caption)
    columns = [
        Column("Structure", numeric=False),
        Column("Formula", numeric=False),
        Column("Model", numeric=False),
        Column("Atoms"),
        Column("Force calls"),
        Column("Energy", "eV/atom", hint="on the model's own scale"),
        Column("Largest force", "meV/Å"),
        Column("Volume change", "%"),
        Column("Displacement RMSD", "Å"),
        Column("Outcome", numeric=False),
    ]
    done = is_true(rows["converged"])
    body = [
        Row(
            [
                Cell(str(row["case_id"]), str(row["benchmark"]), code=True),
                Cell(str(row["formula_reduced"]), formula=True),
                Cell(str(row["label"])),
                make_count_cell(row["n_atoms"]),
                make_count_cell(row["force_calls"]),
                _make_number_cell(row["energy_final_ev_per_atom"], 1, 4),
                make_error_cell(row["fmax_ev_per_ang"]),
                _make_number_cell(row["volume_change_fraction"], 100, 2),
                _make_number_cell(row["displacement_rmsd_ang"], 1, 4),
                Cell("converged" if is_done else as_text(row["failure"]) or "not converged"),
            ],
            colour=get_style(styles, str(row["label"])).colour,
            structure=str(row["case_id"]),
        )
        for row, is_done in zip(rows.to_dict("records"), done, strict=True)
    ]
    yield Table("own-relaxations", "", columns, body)
    yield from make_before_after("own", rows, data.relaxed_cells, styles)


def _make_number_cell(value: object, factor: float, decimals: int) -> Cell:
    number = as_number(value)
    return Cell(NONE) if number is None else Cell(format_number(number * factor, decimals), order=number * factor)
