"""Benchmark rattle-relax: whether a model leads relaxed reference structures back after a rattle.

Over which cases a number is taken: convergence rate, success@N and failed count over all cases; displacement and
volume change over all cases with a final state, the unrattled one of each structure included, **converged or not** (a
model must not look better because its hard cases are left out); energy above unrattled over the rattled cases with a
final state whose unrattled case converged. A relaxation without a final state is a failure: it has no number and is
never a zero. Symmetry kept is a rate over all cases whose target has a symmetry to keep, a space group above P1: for
such a case a failure counts as not kept. Each metric's n says how many cases are behind it. Intervals of means are
cluster bootstraps over chemical systems; those of rates are Wilson's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from heo_core.errors import InputError
from heo_core.evaluation.metrics import (
    compare_convergence,
    compute_convergence,
    compute_final_energy,
    compute_volume_change,
    displacement_rmsd,
    has_final_state,
    mean_metric,
    rate_metric,
    subtract_paired,
)
from heo_core.params import RattleRelaxParams
from heo_core.records import BenchmarkCase, Metric, Relaxation, Structure
from heo_core.structures.perturb import rattle
from heo_core.structures.supercell import find_near_cubic_repeats, repeat
from heo_core.structures.symmetry import find_space_group

Row = dict[str, float | bool | None]

# Name of the rate, the key of `compute_rows` that it is the rate of, and the tolerance of the symmetry search, Å.
_SYMMETRIES = (
    ("symmetry_kept_rate_1e2", "symmetry_kept_1e2", 1e-2),
    ("symmetry_kept_rate_1e5", "symmetry_kept_1e5", 1e-5),
)
_P1 = 1

# Name of the mean, its unit, and the key of `compute_rows` that it is the mean of.
_MEANS = (
    ("displacement_rmsd_mean_ang", "Å", "displacement_rmsd_ang"),
    ("rmsd_normalized_mean", "1", "rmsd_normalized"),
    ("volume_change_mean_fraction", "1", "volume_change_fraction"),
    ("energy_above_unrattled_mean_ev_per_atom", "eV/atom", "energy_above_unrattled_ev_per_atom"),
)


def make_cases(structures: Sequence[Structure], params: RattleRelaxParams) -> list[BenchmarkCase]:
    """Start structures and their targets: for each chosen structure the supercell as it is, then its rattled copies.

    Chosen are up to max_structures of those whose largest reference force is below screen_fmax and whose supercell
    (near-cubic repeats with at least min_atoms) has at most max_atoms, in a seeded order that does not depend on the
    order of the input. No cases if none qualifies; InputError if min_atoms is above max_atoms.

    The noise of a structure depends on the seed and the structure alone, not on what else was chosen.
    """
    if params.min_atoms > params.max_atoms:
        msg = f"min_atoms {params.min_atoms} is above max_atoms {params.max_atoms}; it must be at most max_atoms"
        raise InputError(msg)
    relaxed = [s for s in structures if s.fmax_ev_per_ang is not None and s.fmax_ev_per_ang < params.screen_fmax]
    by_hash = {structure.content_hash: structure for structure in relaxed}
    cells = [
        (by_hash[key], find_near_cubic_repeats(by_hash[key].lattice, by_hash[key].n_atoms, params.min_atoms))
        for key in sorted(by_hash)
    ]
    allowed = [
        (structure, repeats)
        for structure, repeats in cells
        if structure.n_atoms * int(np.prod(repeats)) <= params.max_atoms
    ]
    order = np.random.default_rng(params.seed).permutation(len(allowed))[: params.max_structures]
    return [
        case
        for structure, repeats in (allowed[i] for i in order)
        for case in _make_cases_of(structure, repeats, params)
    ]


def _make_cases_of(
    structure: Structure, repeats: tuple[int, int, int], params: RattleRelaxParams
) -> list[BenchmarkCase]:
    rng = np.random.default_rng([params.seed, int(structure.content_hash[:16], 16)])
    target = replace(repeat(structure, repeats), immutable_id=f"{structure.immutable_id}/rattle-0")
    starts = [target] + [
        replace(rattle(target, params.rattle_ang, rng), immutable_id=f"{structure.immutable_id}/rattle-{copy}")
        for copy in range(1, params.n_rattles + 1)
    ]
    return [
        BenchmarkCase(
            start=start,
            target=target,
            recipe={
                "immutable_id": structure.immutable_id,
                "content_hash": structure.content_hash,
                "repeat": list(repeats),
                "rattle": copy,
                "rattle_ang": params.rattle_ang if copy else 0.0,
                "seed": params.seed,
            },
        )
        for copy, start in enumerate(starts)
    ]


def compute_rows(cases: Sequence[BenchmarkCase], relaxations: Sequence[Relaxation]) -> list[Row]:
    """Numbers of each case: distances and volume change from the target, symmetry kept, energy above the unrattled.

    rmsd_normalized is pymatgen's, see `match_normalized`. energy_above_unrattled_ev_per_atom is the model's own final
    energy minus that of the same structure's unrattled case; it is None for the unrattled case itself and where that
    one did not converge. symmetry_kept_... is None where the target has no symmetry, and False without a final state;
    all others are None without one.
    """
    unrattled = {
        case.recipe["content_hash"]: compute_final_energy(relaxation, case.start.n_atoms)
        for case, relaxation in zip(cases, relaxations, strict=True)
        if case.recipe["rattle"] == 0 and relaxation.converged
    }
    return [_compute_row(case, relaxation, unrattled) for case, relaxation in zip(cases, relaxations, strict=True)]


def _compute_row(case: BenchmarkCase, relaxation: Relaxation, unrattled: dict[str, float | None]) -> Row:
    target, final = case.target, _get_final_cell(case, relaxation)
    moved = matched = volume = None
    if target is not None and final is not None:
        moved = displacement_rmsd(final.positions, final.lattice, target.positions, target.lattice)
        matched = match_normalized(final, target)
        volume = compute_volume_change(relaxation, target)
    energy = compute_final_energy(relaxation, case.start.n_atoms)
    lowest = unrattled.get(case.recipe["content_hash"]) if case.recipe["rattle"] else None
    return {
        "displacement_rmsd_ang": moved,
        "rmsd_normalized": matched,
        "volume_change_fraction": volume,
        "energy_above_unrattled_ev_per_atom": None if energy is None or lowest is None else energy - lowest,
        **{key: None if target is None else keeps_symmetry(final, target, tol) for _, key, tol in _SYMMETRIES},
    }


def _get_final_cell(case: BenchmarkCase, relaxation: Relaxation) -> Structure | None:
    if relaxation.positions is None or relaxation.lattice is None or not has_final_state(relaxation):
        return None
    return replace(case.start, lattice=relaxation.lattice, positions=relaxation.positions)


def match_normalized(structure: Structure, target: Structure) -> float:
    """Root mean square distance of the best match of two cells over (V/n_atoms)^(1/3), no unit; 1 without a match.

    pymatgen's StructureMatcher with stol 1 and no scaling of the volume, as Matbench Discovery has it, but of the cells
    as they are: reduced to primitive cells first, as it does by default, a supercell whose copies moved differently is
    averaged over them, or not matched at all.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(stol=1.0, scale=False, primitive_cell=False)
    found = matcher.get_rms_dist(_to_pymatgen(target), _to_pymatgen(structure))
    return 1.0 if found is None else float(found[0])


def _to_pymatgen(structure: Structure) -> Any:
    from pymatgen.core import Structure as PymatgenStructure

    return PymatgenStructure(structure.lattice, list(structure.species), structure.positions, coords_are_cartesian=True)


def keeps_symmetry(structure: Structure | None, target: Structure, symprec: float) -> bool | None:
    """Whether a cell has the space group of its target, both at one tolerance in Å; None for a target in P1."""
    wanted = find_space_group(target, symprec)
    if wanted in {None, _P1}:
        return None
    return structure is not None and find_space_group(structure, symprec) == wanted


def compute_metrics(
    cases: Sequence[BenchmarkCase],
    relaxations: Sequence[Relaxation],
    rng: np.random.Generator,
    rows: Sequence[Row] | None = None,
) -> list[Metric]:
    """All metrics of one model; relaxations[i] belongs to cases[i]. Over which cases: see the module's docstring.

    rows: those of `compute_rows`, where they are known already.
    """
    rows = compute_rows(cases, relaxations) if rows is None else rows
    groups = [case.start.chemical_system for case in cases]
    displacements = [row["displacement_rmsd_ang"] for row in rows if row["displacement_rmsd_ang"] is not None]
    median = float(np.median(displacements)) if displacements else None
    kept = {name: [row[key] for row in rows if row[key] is not None] for name, key, _ in _SYMMETRIES}
    return [
        *compute_convergence(relaxations),
        *(mean_metric(name, unit, [row[key] for row in rows], groups, rng) for name, unit, key in _MEANS),
        Metric("displacement_rmsd_median_ang", median, "Å", len(displacements)),
        *(rate_metric(name, sum(map(bool, values)), len(values)) for name, values in kept.items()),
    ]


def compare(
    cases: Sequence[BenchmarkCase],
    baseline: Sequence[Relaxation],
    candidate: Sequence[Relaxation],
    rng: np.random.Generator,
) -> list[Metric]:
    """Paired differences candidate - baseline over the cases for which both have a number.

    Each has the name of the metric it is a difference of. convergence_rate is over all cases; force_calls_mean over
    those on which both converged.
    """
    groups = [case.start.chemical_system for case in cases]
    before, after = compute_rows(cases, baseline), compute_rows(cases, candidate)
    means = [*_MEANS, *((name, "1", key) for name, key, _ in _SYMMETRIES)]
    return [
        *compare_convergence(baseline, candidate, groups, rng),
        *(
            mean_metric(name, unit, subtract_paired([r[key] for r in after], [r[key] for r in before]), groups, rng)
            for name, unit, key in means
        ),
    ]
