"""Relaxed structures side by side: before relaxing, and after it under each model."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from heo_core.reporting.data import as_number, as_text, is_true
from heo_core.reporting.palette import ModelStyle, get_style
from heo_core.reporting.quantities import format_number
from heo_core.reporting.scenes import choose_cases
from heo_core.reporting.viewer import Drawing, Scene, View, Viewer


def make_before_after(
    key: str, relaxations: pd.DataFrame, relaxed_cells: pd.DataFrame, styles: Mapping[str, ModelStyle]
) -> Iterator[Viewer]:
    """Yield a viewer of the structures that one asks for first: before relaxing, and after it under each model.

    relaxations: rows of one benchmark or of several; nothing is yielded where none of their cells is known.
    """
    names = list(dict.fromkeys(relaxations["benchmark"].astype(str)))
    scenes = [
        replace(scene, group=f"{name}: {scene.group.lower()}") if len(names) > 1 else scene
        for name in names
        for scene in _make_scenes(
            relaxations[relaxations["benchmark"] == name], relaxed_cells[relaxed_cells["benchmark"] == name], styles
        )
    ]
    if scenes:
        caption = (
            "The same structure in each picture, turned together. Drag to turn, with Ctrl and the wheel to zoom; point "
            "at an atom to name it."
        )
        yield Viewer(key, "Before and after.", caption, scenes)


def _make_scenes(rows: pd.DataFrame, drawn: pd.DataFrame, styles: Mapping[str, ModelStyle]) -> Iterator[Scene]:
    cells = {(row["case_index"], as_text(row["label"])): row for row in drawn.to_dict("records")}
    for case, reason in choose_cases(rows).items():
        found = rows[rows["case_index"] == case]
        before = cells.get((case, None))
        if before is None:
            continue
        first = found.iloc[0]
        views = [View("Before", _list_start_facts(first), _make_drawing(before))]
        views += [
            View(
                f"After, {row['label']}",
                _list_end_facts(row),
                _make_drawing(cells.get((case, row["label"]))),
                get_style(styles, str(row["label"])).colour,
            )
            for row in found.to_dict("records")
        ]
        yield Scene(reason, str(first["formula_reduced"]), str(first["case_id"]), views)


def _make_drawing(cell: Mapping[Hashable, Any] | None) -> Drawing | None:
    return None if cell is None else Drawing(cell["lattice_ang"], cell["positions_ang"], cell["species"])


def _list_start_facts(row: pd.Series) -> list[tuple[str, str]]:
    rattle = as_number(row["rattle_ang"])
    facts = [("Formula", str(row["formula_reduced"])), ("Id", str(row["case_id"])), ("Atoms", f"{row['n_atoms']:.0f}")]
    return facts if rattle is None else [*facts, ("Displaced by", f"{rattle:g} Å (standard deviation along each axis)")]


def _list_end_facts(row: Mapping[Hashable, Any]) -> list[tuple[str, str]]:
    failure = as_text(row["failure"])
    is_converged = bool(is_true(pd.Series([row["converged"]])).iloc[0])
    facts = [("Converged", "yes" if is_converged else failure or "not within the force calls allowed")]
    for name, column, factor, decimals, signed, unit in (
        ("Force calls", "force_calls", 1.0, 0, False, ""),
        ("Largest force", "fmax_ev_per_ang", 1000.0, 1, False, " meV/Å"),
        ("Displacement RMSD", "displacement_rmsd_ang", 1.0, 4, False, " Å"),
        ("Volume change", "volume_change_fraction", 100.0, 2, True, " %"),
        ("Reference energy", "reference_energy_ev_per_atom", 1.0, 4, False, " eV/atom"),
    ):
        number = as_number(row[column])
        if number is not None:
            facts.append((name, format_number(number * factor, decimals, signed=signed) + unit))
    return facts
