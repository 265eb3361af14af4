"""Which structures a report draws in three dimensions: few, and those that a reader would ask for."""

from __future__ import annotations

import numpy as np
import pandas as pd

from heo_core.reporting.data import is_true

MAX_ATOMS = 300
"""Larger cells are not drawn: a page must stay small."""
_N_PROTOTYPES = 5
_N_MOVED, _N_UNFINISHED, _N_TYPICAL = 4, 4, 3
_EXTREMES = (
    ("Most elements", "n_elements", False),
    ("Highest configurational entropy", "entropy_sublattice_r", False),
    ("Largest reference force", "fmax_ev_per_ang", False),
    ("Smallest cell", "n_atoms", True),
    ("Largest cell drawn", "n_atoms", False),
)


def choose_samples(structures: pd.DataFrame) -> dict[int, str]:
    """Return structure_id -> why it is shown: one of each common prototype, then the extremes; nothing shown twice.

    structures: rows with the columns of `COLUMNS["structures"]`.
    """
    drawn = structures[pd.to_numeric(structures["n_atoms"]) <= MAX_ATOMS]
    chosen: dict[int, str] = {}
    for prototype in drawn["prototype"].dropna().value_counts(sort=True).index[:_N_PROTOTYPES]:
        rows = drawn[drawn["prototype"] == prototype]
        sizes = pd.to_numeric(rows["n_atoms"])
        typical = rows.loc[(sizes - sizes.median()).abs().sort_values(kind="stable").index[0]]
        chosen[int(typical["structure_id"])] = f"Typical {prototype}"
    for reason, column, ascending in _EXTREMES:
        values = pd.to_numeric(drawn[column], errors="coerce").dropna().sort_values(ascending=ascending, kind="stable")
        for index in values.index:
            structure_id = int(drawn.loc[index, "structure_id"])
            if structure_id not in chosen:
                chosen[structure_id] = reason
                break
    return chosen


def choose_cases(relaxations: pd.DataFrame) -> dict[int, str]:
    """Return case_index -> why it is shown: those that moved most, that failed or did not converge, and typical ones.

    relaxations: the rows of one benchmark, all models. How far a case moved is its largest displacement RMSD under any
    model; where none is known, its largest change of volume.
    """
    rows = relaxations[pd.to_numeric(relaxations["n_atoms"]) <= MAX_ATOMS]
    moved = _measure(rows)
    is_done = is_true(rows["converged"])
    unfinished = rows.loc[~is_done, "case_index"].drop_duplicates()
    order = moved.sort_values(ascending=False, kind="stable").index
    typical = (moved - moved.median()).abs().sort_values(kind="stable").index
    chosen: dict[int, str] = {}
    for reason, cases, n in (
        ("Failed or not converged", unfinished, _N_UNFINISHED),
        ("Moved most", order, _N_MOVED),
        ("Typical", typical, _N_TYPICAL),
    ):
        new = [int(case) for case in cases if int(case) not in chosen][:n]
        chosen.update(dict.fromkeys(new, reason))
    return chosen


def _measure(rows: pd.DataFrame) -> pd.Series:
    """Return how far each case moved, by case_index; cases without any number are left out."""
    for column in ("displacement_rmsd_ang", "volume_change_fraction"):
        sizes = pd.to_numeric(rows[column], errors="coerce").abs().groupby(rows["case_index"]).max().dropna()
        if len(sizes):
            return sizes
    return pd.Series(dtype=np.float64)
