"""The rules that a row must keep, each with its name; a row is counted under the first one that it breaks.

A rule sees a row as the source gives it (plain lists, numbers, None), so that a malformed row is a rejection and not
a crash.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.geometry import minkowski_reduce

from heo_core.params import RuleParams
from heo_core.records import Array, Structure

type Row = dict[str, Any]

ELEMENTS = frozenset(chemical_symbols[1:])
METALLOIDS = frozenset({"B", "Si", "Ge", "As", "Sb", "Te"})
NON_METALS = frozenset(
    {"H", "He", "C", "N", "O", "F", "Ne", "P", "S", "Cl", "Ar", "Se", "Br", "Kr", "I", "Xe", "At", "Rn", "Ts", "Og"}
)

# Where two rows hold the same material, the user's own row stays before a database's.
SOURCE_ORDER = ("mp", "agm", "oqmd")


@dataclass(frozen=True)
class Rule:
    """A named reason to leave a row out."""

    name: str
    description: str
    breaks: Callable[[Row, RuleParams], bool]


def find_broken_rule(row: Row, params: RuleParams) -> str | None:
    """Return the name of the first rule that a row breaks, or None."""
    return next((rule.name for rule in RULES if rule.breaks(row, params)), None)


def source_of(immutable_id: str) -> str:
    """Source of a row: mp, agm or oqmd if its id starts so, else what stands before its first hyphen, else own."""
    known = next((source for source in SOURCE_ORDER if immutable_id.startswith(source)), None)
    prefix, hyphen, _ = immutable_id.partition("-")
    return known or (prefix.lower() if hyphen and prefix else "own")


def order_of_preference(structure: Structure) -> tuple[int, str, str]:
    """Sort key that says which of two duplicates stays: own rows, then mp, agm, oqmd; then by id, then by content."""
    rank = SOURCE_ORDER.index(structure.source) + 1 if structure.source in SOURCE_ORDER else 0
    return rank, structure.immutable_id, structure.content_hash


@dataclass
class Duplicates:
    """Remembers what was kept, by id and by fingerprint."""

    ids: set[str] = field(default_factory=set)
    fingerprints: set[str] = field(default_factory=set)

    def find_broken_rule(self, structure: Structure) -> str | None:
        """Return duplicate_id or duplicate_fingerprint when something kept before has it, else remember this one."""
        if structure.immutable_id in self.ids:
            return "duplicate_id"
        if structure.fingerprint and structure.fingerprint in self.fingerprints:
            return "duplicate_fingerprint"
        self.ids.add(structure.immutable_id)
        if structure.fingerprint:
            self.fingerprints.add(structure.fingerprint)
        return None


def _is_storable(text: Any) -> bool:
    """Whether this is text that a database takes: no NUL, no half of a surrogate pair."""
    return isinstance(text, str) and "\0" not in text and text.encode(errors="ignore").decode() == text


def _has_malformed_text(row: Row) -> bool:
    optional = (text for text in (row["functional"], row["fingerprint"]) if text is not None)
    return not all(_is_storable(text) for text in (row["immutable_id"], *row["species_at_sites"], *optional))


def _elements(row: Row) -> set[str]:
    return set(row["species_at_sites"])


def _cations(row: Row) -> set[str]:
    return _elements(row) - {"O"}


def _n_sites(row: Row) -> int:
    return len(row["species_at_sites"])


def _is_ragged(rows: list[Any] | None) -> bool:
    return any(vector is None or len(vector) != 3 or None in vector for vector in rows or [])


def _not_finite(rows: list[list[float]] | None) -> bool:
    return any(not math.isfinite(x) for vector in rows or [] for x in vector)


def _largest_force(row: Row) -> float:
    return float(np.linalg.norm(np.array(row["forces"], dtype=float), axis=1).max())


def _volume_per_atom(row: Row) -> float:
    return abs(float(np.linalg.det(np.array(row["lattice_vectors"], dtype=float)))) / _n_sites(row)


def compute_smallest_distance(lattice: Array, positions: Array) -> float:
    """Smallest distance between two atoms, periodic images included, Å. lattice (3, 3), positions (n, 3)."""
    reduced, _ = minkowski_reduce(lattice)
    fractional = positions @ np.linalg.inv(reduced)
    separation = fractional[:, None, :] - fractional[None, :, :]
    separation -= np.round(separation)
    shifts = np.array([(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)], dtype=float)
    smallest = math.inf
    for shift in shifts:
        distances = np.linalg.norm((separation + shift) @ reduced, axis=2)
        if not shift.any():
            np.fill_diagonal(distances, math.inf)
        smallest = min(smallest, float(distances.min()))
    return smallest


def _too_close(row: Row, params: RuleParams) -> bool:
    lattice, positions = np.array(row["lattice_vectors"], float), np.array(row["cartesian_site_positions"], float)
    return compute_smallest_distance(lattice, positions) < params.min_distance_ang


RULES: tuple[Rule, ...] = (
    Rule("id_missing", "the row has no immutable_id", lambda r, _: not r["immutable_id"]),
    Rule(
        "species_missing",
        "the row has no species",
        lambda r, _: not r["species_at_sites"] or None in r["species_at_sites"],
    ),
    Rule(
        "text_malformed",
        "an id, symbol, functional or fingerprint that is no plain text",
        lambda r, _: _has_malformed_text(r),
    ),
    Rule(
        "source_excluded",
        "its source is in exclude_sources",
        lambda r, p: source_of(r["immutable_id"]) in p.exclude_sources,
    ),
    Rule(
        "too_few_elements",
        "fewer different elements than min_elements",
        lambda r, p: len(_elements(r)) < p.min_elements,
    ),
    Rule("unknown_element", "a symbol that is no element", lambda r, _: not _elements(r) <= ELEMENTS),
    Rule("no_oxygen", "no oxygen", lambda r, _: "O" not in _elements(r)),
    Rule(
        "non_metal_cation", "an element beside oxygen that is a non-metal", lambda r, _: bool(_cations(r) & NON_METALS)
    ),
    Rule(
        "metalloid_cation",
        "B, Si, Ge, As, Sb or Te",
        lambda r, p: not p.allow_metalloids and bool(_cations(r) & METALLOIDS),
    ),
    Rule("not_bulk", "not periodic in three dimensions", lambda r, _: r["nperiodic_dimensions"] != 3),
    Rule(
        "too_many_atoms",
        "more atoms than max_n_atoms",
        lambda r, p: p.max_n_atoms is not None and _n_sites(r) > p.max_n_atoms,
    ),
    Rule("energy_null", "no energy", lambda r, _: r["energy"] is None),
    Rule("energy_nan", "the energy is not finite", lambda r, _: not math.isfinite(r["energy"])),
    Rule("forces_null", "no forces", lambda r, _: r["forces"] is None),
    Rule("forces_empty", "an empty list of forces", lambda r, _: len(r["forces"]) == 0),
    Rule("forces_ragged", "a force with other than three components", lambda r, _: _is_ragged(r["forces"])),
    Rule("forces_wrong_length", "not one force an atom", lambda r, _: len(r["forces"]) != _n_sites(r)),
    Rule("forces_nan", "a force that is not finite", lambda r, _: _not_finite(r["forces"])),
    Rule(
        "forces_too_large",
        "a force above max_force_ev_per_ang",
        lambda r, p: p.max_force_ev_per_ang is not None and _largest_force(r) > p.max_force_ev_per_ang,
    ),
    Rule(
        "lattice_malformed",
        "not three finite lattice vectors",
        lambda r, _: (
            not r["lattice_vectors"]
            or len(r["lattice_vectors"]) != 3
            or _is_ragged(r["lattice_vectors"])
            or _not_finite(r["lattice_vectors"])
        ),
    ),
    Rule(
        "positions_wrong_length",
        "not one finite position an atom",
        lambda r, _: (
            len(r["cartesian_site_positions"] or []) != _n_sites(r)
            or _is_ragged(r["cartesian_site_positions"])
            or _not_finite(r["cartesian_site_positions"])
        ),
    ),
    Rule(
        "cell_zero_volume",
        "a cell below min_volume_per_atom_ang3",
        lambda r, p: _volume_per_atom(r) < p.min_volume_per_atom_ang3,
    ),
    Rule("atoms_overlap", "two atoms closer than min_distance_ang", _too_close),
)
"""All rules in the order in which they are tried. Duplicates come after; malformed_row is what none could read."""
