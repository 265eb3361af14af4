"""Search structures by elements, formula, chemical system and ranges of properties."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, combinations
from math import isfinite, nan
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.datasets import get_dataset
from heo_core.curation.composition import reduce_formula
from heo_core.elements import SYMBOLS
from heo_core.errors import InputError

PROPERTIES = (
    "n_elements",
    "n_atoms",
    "volume_per_atom_ang3",
    "energy_ev_per_atom",
    "fmax_ev_per_ang",
    "n_cations",
    "entropy_pooled_r",
    "entropy_sublattice_r",
    "entropy_per_formula_r",
    "equimolarity_deviation",
    "radius_mismatch_percent",
    "electronegativity_spread",
    "space_group_number",
    "parent_space_group_number",
)
"""Columns of the view any_structure that a range can be asked of."""

_SHOWN = (
    "structure_id, immutable_id, source, formula_reduced, n_atoms, energy_ev_per_atom, fmax_ev_per_ang, "
    "volume_per_atom_ang3, entropy_pooled_r, space_group_symbol, prototype, datasets"
)
_RANGE = re.compile(r"\s*(\w+)\s*(<=|>=|=|<|>)\s*(\S+)\s*")
# So many chemical systems (of 11 elements or fewer) are looked up one by one; else each structure is looked at.
_MAX_SYSTEMS = 2048


def find_structures(
    session: Session,
    *,
    contains: Sequence[str] = (),
    only: Sequence[str] = (),
    any_of: Sequence[str] = (),
    formula: str | None = None,
    chemical_system: str | None = None,
    ranges: Sequence[str] = (),
    dataset: str | None = None,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Return the structures for which all that is asked holds, one row a structure, the oldest first.

    contains: elements that it all holds. only: it holds no others. any_of: it holds one of them at least. formula: in
    any multiple and order. chemical_system: exactly these elements. ranges: comparisons such as "n_atoms <= 40", of
    PROPERTIES; a structure without the number is not found. dataset: NAME or NAME@VERSION.
    InputError for what is no element, formula or property, and for a dataset that is not there.
    """
    clauses = [*_ask_elements(contains, only, any_of), *(_ask_range(asked, i) for i, asked in enumerate(ranges))]
    if formula is not None:
        clauses.append(("formula_reduced = :formula", {"formula": reduce_formula(formula)}))
    if chemical_system is not None:
        system = "-".join(_check_elements(chemical_system.split("-")))
        clauses.append(("chemical_system = :chemical_system", {"chemical_system": system}))
    if dataset is not None:
        members = "structure_id in (select structure_id from dataset_member where dataset_id = :dataset_id)"
        clauses.append((members, {"dataset_id": get_dataset(session, dataset).id}))
    where = " and ".join(clause for clause, _ in clauses) or "true"
    values = dict(chain.from_iterable(named.items() for _, named in clauses))
    statement = f"select {_SHOWN} from any_structure where {where} order by structure_id limit :limit"  # noqa: S608
    return [dict(row) for row in session.execute(text(statement), {**values, "limit": limit}).mappings()]


type _Clause = tuple[str, dict[str, Any]]


def _ask_elements(contains: Sequence[str], only: Sequence[str], any_of: Sequence[str]) -> Iterator[_Clause]:
    wanted, allowed = _check_elements(contains), _check_elements(only)
    if wanted:
        yield "elements @> :contains", {"contains": wanted}
    if any_of:
        yield "elements && :any_of", {"any_of": _check_elements(any_of)}
    if not allowed:
        return
    if not set(wanted) <= set(allowed):
        raise InputError(f"no structure holds {', '.join(wanted)} and only {', '.join(allowed)}")
    free = [element for element in allowed if element not in wanted]
    if 2 ** len(free) > _MAX_SYSTEMS:
        yield "elements <@ :only", {"only": allowed}
        return
    # An index finds a system at once; there is none that finds all arrays within another.
    added = chain.from_iterable(combinations(free, n) for n in range(len(free) + 1))
    yield "chemical_system = any(:systems)", {"systems": ["-".join(sorted([*wanted, *some])) for some in added]}


def _ask_range(asked: str, number: int) -> _Clause:
    found = _RANGE.fullmatch(asked)
    if found is None or found[1] not in PROPERTIES:
        raise InputError(
            f"{asked!r} is no range; allowed: PROPERTY <, <=, =, >= or > NUMBER, properties: {', '.join(PROPERTIES)}"
        )
    try:
        value = float(found[3])
    except ValueError:
        value = nan
    if not isfinite(value):
        raise InputError(f"{found[3]!r} in {asked!r} is no number")
    # A whole number as one: Postgres uses no index of integers for a fraction.
    return f"{found[1]} {found[2]} :value_{number}", {f"value_{number}": int(value) if value.is_integer() else value}


def _check_elements(symbols: Sequence[str]) -> list[str]:
    """Elements in alphabetical order, each once."""
    unknown = sorted(set(symbols) - set(SYMBOLS))
    if unknown:
        raise InputError(f"{', '.join(map(repr, unknown))}: no element; allowed: symbols such as Mg or Co")
    return sorted(set(symbols))
