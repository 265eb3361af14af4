"""The rules that a row must keep, each with its name; a row is counted under the first one that it breaks.

A rule sees rows as the source gives them: anything may be null, and any list of a wrong length. The order matters: a
rule may rely on what those before it have left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from heo_core.curation.composition import compute_cation_entropy_r, compute_equimolarity_deviation
from heo_core.curation.distances import find_close_pairs
from heo_core.curation.row_batch import Bools, RowBatch, Vectors
from heo_core.curation.rows import iter_structures, source_of
from heo_core.elements import ELEMENT_GROUPS, METALLOIDS, NON_METALS
from heo_core.params import RuleParams

# Longer text than any database's ids and symbols have, and short enough for an index.
_MAX_TEXT_BYTES = 500
# Of round numbers: five equal cations reach ln 5, and a limit of 1.609 must let them pass.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Rule:
    """A named reason to leave a row out. breaks: from n rows to (n,), true where a row breaks it."""

    name: str
    description: str
    breaks: Callable[[RowBatch, RuleParams], Bools]


def _nothing(rows: RowBatch) -> Bools:
    return np.zeros(len(rows), dtype=bool)


def _too_few_elements(rows: RowBatch, params: RuleParams) -> Bools:
    least = params.min_elements or 0
    # A comparison with NaN is false: a row that does not count its elements is judged by its species.
    return np.asarray((rows.numbers("nelements") < least) | ((rows.n_sites > 0) & (rows.n_symbols < least)))


def _species_missing(rows: RowBatch, _: RuleParams) -> Bools:
    row_of, indices, symbols = rows.sites
    missing = np.asarray(rows.n_sites == 0)
    for index, symbol in enumerate(symbols):
        if symbol is None:
            missing[row_of[indices == index]] = True
    return missing


def _text_malformed(rows: RowBatch, _: RuleParams) -> Bools:
    malformed = _nothing(rows)
    for name in ("immutable_id", "source", "functional", "fingerprint"):
        malformed |= _is_malformed(rows.text(name))
    row_of, indices, symbols = rows.sites
    for index, symbol in enumerate(symbols):
        if symbol is not None and ("\0" in symbol or len(symbol) > _MAX_TEXT_BYTES):
            malformed[row_of[indices == index]] = True
    return malformed


def _is_malformed(texts: pa.Array) -> Bools:
    """Whether a database would refuse this text: NUL, no UTF-8, or too long for an index."""
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        return np.array([_is_malformed_text(text) for text in texts.cast(pa.binary()).to_pylist()])
    found = pc.or_(
        pc.match_substring(texts, "\0"), pc.greater(pc.binary_length(texts).cast(pa.int64()), _MAX_TEXT_BYTES)
    )
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=bool)


def _is_malformed_text(text: bytes) -> bool:
    return b"\0" in text or len(text) > _MAX_TEXT_BYTES or text.decode(errors="ignore").encode() != text


def _source_excluded(rows: RowBatch, params: RuleParams) -> Bools:
    if not params.include_sources and not params.exclude_sources:
        return _nothing(rows)
    ids, stated = rows.text("immutable_id").to_pylist(), rows.text("source").to_pylist()
    sources = [(source or source_of(row_id)).lower() for row_id, source in zip(ids, stated, strict=True)]
    excluded = np.isin(sources, [name.lower() for name in params.exclude_sources or ()])
    if params.include_sources:
        excluded |= ~np.isin(sources, [name.lower() for name in params.include_sources])
    return excluded


def _functional_excluded(rows: RowBatch, params: RuleParams) -> Bools:
    if not params.functionals:
        return _nothing(rows)
    found = np.array([text.lower() for text in rows.text("functional").to_pylist()])
    return ~np.isin(found, [name.lower() for name in params.functionals])


def _element_excluded(rows: RowBatch, params: RuleParams) -> Bools:
    names = params.exclude_elements or ()
    symbols = frozenset[str]().union(*(ELEMENT_GROUPS.get(name, frozenset({name})) for name in names))
    return rows.has_any(symbols) if symbols else _nothing(rows)


def _not_equimolar(rows: RowBatch, params: RuleParams) -> Bools:
    most = params.max_equimolarity_deviation
    if not most:
        return _nothing(rows)
    return np.asarray(compute_equimolarity_deviation(rows.cation_counts) > most + _ROUNDING)


def _entropy_too_low(rows: RowBatch, params: RuleParams) -> Bools:
    least = (params.min_entropy_r or 0.0) - _ROUNDING
    if least <= 0.0:
        return _nothing(rows)
    too_low = np.asarray(compute_cation_entropy_r(rows.cation_counts) < least)
    if params.entropy_of == "pooled":
        return too_low
    if params.entropy_of == "sublattice":
        too_low[:] = True
    from heo_core.curation.descriptors import compute_sublattice_entropy_r

    # No sublattice beats an equal share of all cations; only rows that could pass are worth a look at their symmetry.
    n_cations = np.maximum((rows.cation_counts > 0).sum(axis=1), 1)
    hopeful = np.flatnonzero(too_low & (np.log(n_cations) >= least))
    structures = iter_structures(rows.table.take(pa.array(hopeful)))
    too_low[hopeful] = [compute_sublattice_entropy_r(structure) < least for structure in structures]
    return too_low


def _is_not_finite(rows: RowBatch, name: str) -> Bools:
    return ~rows.is_null(name) & ~np.isfinite(rows.numbers(name))


def _energy_implausible(rows: RowBatch, params: RuleParams) -> Bools:
    most = params.max_energy_ev_per_atom
    if not most:
        return _nothing(rows)
    return np.asarray(np.abs(rows.numbers("energy")) > most * rows.n_sites)


def _forces_too_large(rows: RowBatch, params: RuleParams) -> Bools:
    most = params.max_force_ev_per_ang
    if not most:
        return _nothing(rows)
    return rows.forces.is_any_longer(most)


def _is_malformed_list(vectors: Vectors) -> Bools:
    return vectors.is_ragged | vectors.is_not_finite


def _cell_zero_volume(rows: RowBatch, params: RuleParams) -> Bools:
    volume_per_atom = np.abs(np.linalg.det(rows.lattices)) / rows.n_sites
    big_enough = (volume_per_atom >= (params.min_volume_per_atom_ang3 or 0.0)) & (volume_per_atom > 0.0)
    return np.asarray(~(big_enough & np.isfinite(volume_per_atom)))


def _cell_too_large(rows: RowBatch, params: RuleParams) -> Bools:
    most = params.max_volume_per_atom_ang3
    if not most:
        return _nothing(rows)
    return np.asarray(np.abs(np.linalg.det(rows.lattices)) > most * rows.n_sites)


def _atoms_overlap(rows: RowBatch, params: RuleParams) -> Bools:
    if not params.min_distance_ang:
        return _nothing(rows)
    return find_close_pairs(rows.lattices, rows.positions.xyz, rows.n_sites, params.min_distance_ang)


RULES: tuple[Rule, ...] = (
    Rule("too_few_elements", "fewer different elements than min_elements", _too_few_elements),
    Rule("id_missing", "the row has no immutable_id", lambda r, _: r.text_lengths("immutable_id") == 0),
    Rule(
        "unreadable",
        "nothing of it could be read but an id: a frame or a run that is cut short",
        lambda r, _: r.is_null("species_at_sites") & r.is_null("lattice_vectors") & r.is_null("energy"),
    ),
    Rule("species_missing", "the row has no species, or a site without one", _species_missing),
    Rule("text_malformed", "an id, source, symbol, functional or fingerprint that is no plain text", _text_malformed),
    Rule("source_excluded", "its source is in exclude_sources, or not in include_sources", _source_excluded),
    Rule("functional_excluded", "its functional is not in functionals", _functional_excluded),
    Rule("unknown_element", "a symbol that is no element", lambda r, _: r.counts[:, 0] > 0),
    Rule("no_oxygen", "no oxygen", lambda r, p: ~r.has_any(frozenset({"O"})) & bool(p.require_oxygen)),
    Rule(
        "non_metal_cation",
        "an element beside oxygen that is a non-metal",
        lambda r, p: r.has_any(NON_METALS - {"O"}) & bool(p.only_metals),
    ),
    Rule(
        "metalloid_cation",
        "B, Si, Ge, As, Sb or Te",
        lambda r, p: r.has_any(METALLOIDS) & bool(p.only_metals and not p.allow_metalloids),
    ),
    Rule("element_excluded", "an element of exclude_elements", _element_excluded),
    Rule(
        "too_few_cations",
        "fewer different cations than min_cations",
        lambda r, p: (r.cation_counts > 0).sum(axis=1) < (p.min_cations or 0),
    ),
    Rule("not_equimolar", "a cation's fraction is off 1/n by more than max_equimolarity_deviation", _not_equimolar),
    Rule(
        "not_bulk",
        "not periodic in three dimensions",
        lambda r, p: (r.numbers("nperiodic_dimensions") != 3) & bool(p.require_bulk),
    ),
    Rule(
        "too_many_atoms",
        "more atoms than max_n_atoms",
        lambda r, p: (r.n_sites > (p.max_n_atoms or 0)) & bool(p.max_n_atoms),
    ),
    Rule("energy_null", "no energy", lambda r, p: r.is_null("energy") & bool(p.require_energy)),
    Rule("energy_nan", "the energy is not finite", lambda r, _: _is_not_finite(r, "energy")),
    Rule("energy_implausible", "an energy per atom beyond max_energy_ev_per_atom, either way", _energy_implausible),
    Rule("forces_null", "no forces", lambda r, p: r.forces.is_null & bool(p.require_forces)),
    Rule(
        "forces_empty",
        "an empty list of forces",
        lambda r, p: ~r.forces.is_null & (r.forces.n_vectors == 0) & bool(p.require_forces),
    ),
    Rule("forces_ragged", "a force with other than three components", lambda r, _: r.forces.is_ragged),
    Rule(
        "forces_wrong_length",
        "not one force an atom",
        lambda r, _: (r.forces.n_vectors > 0) & (r.forces.n_vectors != r.n_sites),
    ),
    Rule("forces_nan", "a force that is not finite", lambda r, _: r.forces.is_not_finite),
    Rule("forces_too_large", "a force above max_force_ev_per_ang", _forces_too_large),
    Rule(
        "lattice_malformed",
        "not three finite lattice vectors",
        lambda r, _: _is_malformed_list(r.lattice_vectors) | (r.lattice_vectors.n_vectors != 3),
    ),
    Rule(
        "positions_wrong_length",
        "not one finite position an atom",
        lambda r, _: _is_malformed_list(r.positions) | (r.positions.n_vectors != r.n_sites),
    ),
    Rule("cell_zero_volume", "a cell below min_volume_per_atom_ang3, or without volume", _cell_zero_volume),
    Rule("cell_too_large", "a cell above max_volume_per_atom_ang3", _cell_too_large),
    Rule("atoms_overlap", "two atoms closer than min_distance_ang", _atoms_overlap),
    Rule("entropy_too_low", "less configurational entropy than min_entropy_r", _entropy_too_low),
)
"""All rules in the order in which they are tried."""

LATER_RULES: dict[str, str] = {
    "malformed_row": "a row that none of the rules could read",
    "duplicate_id": "its immutable_id stands on a row that is kept",
    "duplicate_fingerprint": "its fingerprint stands on a row that is kept",
    "duplicate_row": "the same row again",
}
"""Reasons beside RULES to leave a row out."""

RULE_DESCRIPTIONS: dict[str, str] = {rule.name: rule.description for rule in RULES} | LATER_RULES


def check_rows(rows: RowBatch, params: RuleParams, on_rejected: Callable[[str, Iterable[str]], None]) -> list[RowBatch]:
    """Return the rows that break no rule; on_rejected hears of each rule that is broken, with the ids.

    A row that makes the rules stumble is counted as malformed_row, and never raised.
    """
    kept = rows
    rejected: list[tuple[str, list[str]]] = []
    try:
        for rule in RULES:
            if not len(kept):
                break
            with np.errstate(all="ignore"):
                broken = rule.breaks(kept, params)
            if broken.any():
                rejected.append((rule.name, kept.filter(broken).show_ids()))
                kept = kept.filter(~broken)
    except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError, pa.ArrowException):
        if len(rows) == 1:
            on_rejected("malformed_row", rows.show_ids())
            return []
        return [batch for half in rows.split() for batch in check_rows(half, params, on_rejected)]
    for name, ids in rejected:
        on_rejected(name, ids)
    return [kept] if len(kept) else []
