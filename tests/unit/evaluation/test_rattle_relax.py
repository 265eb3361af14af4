"""How rattle-relax cases are chosen and made, and what is averaged over which of them."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure as PymatgenStructure

from heo_core.errors import InputError
from heo_core.evaluation import rattle_relax
from heo_core.params import RattleRelaxParams
from heo_core.records import BenchmarkCase, Metric, Relaxation, Structure


def make_structure(name: str, *, cation: str = "Mg", fmax: float | None = 0.0, n: int = 1) -> Structure:
    """A rock-salt cube of n x 1 x 1 conventional cells."""
    fcc = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]) * 4.2
    cell = np.concatenate([fcc, fcc + np.array([2.1, 0, 0])])
    positions = np.concatenate([cell + np.array([4.2 * i, 0, 0]) for i in range(n)])
    forces = None if fmax is None else np.tile([fmax, 0.0, 0.0], (8 * n, 1))
    return Structure(
        lattice=np.diag([4.2 * n, 4.2, 4.2]),
        positions=positions,
        species=((cation,) * 4 + ("O",) * 4) * n,
        immutable_id=name,
        source="mp",
        functional="pbe",
        energy_ev=-40.0 * n,
        forces_ev_per_ang=forces,
    )


def finish(start: Structure, *, energy: float | None = -10.0, converged: bool = True, calls: int = 30) -> Relaxation:
    """A relaxation that leaves the start where it is; without an energy it failed."""
    done = energy is not None
    return Relaxation(
        converged=converged and done,
        failure=None if converged and done else "not converged",
        force_calls=calls,
        wall_s=0.0,
        energy_initial_ev=energy,
        energy_final_ev=energy,
        fmax_ev_per_ang=None,
        cell_fmax_ev_per_ang=None,
        lattice=start.lattice if done else None,
        positions=start.positions if done else None,
        stress_ev_per_ang3=None,
    )


def make_cases(n_structures: int = 4, **params) -> list[BenchmarkCase]:
    structures = [
        make_structure(f"id-{i}", cation=c)
        for i, c in zip(range(n_structures), itertools.cycle(["Mg", "Ni", "Co", "Zn", "Mn", "Fe"]))
    ]
    return rattle_relax.make_cases(structures, RattleRelaxParams(**params))


def by_name(metrics: list[Metric]) -> dict[str, Metric]:
    assert len({metric.name for metric in metrics}) == len(metrics)
    return {metric.name: metric for metric in metrics}


# --- cases


def test_each_structure_gives_its_unrattled_supercell_then_its_rattled_copies():
    cases = make_cases(2, n_rattles=2, rattle_ang=0.1, seed=7)
    assert [case.recipe["rattle"] for case in cases] == [0, 1, 2, 0, 1, 2]
    assert [case.recipe["rattle_ang"] for case in cases] == [0.0, 0.1, 0.1] * 2
    first, second, third = cases[:3]
    assert first.start is first.target
    assert second.start.immutable_id == f"{second.recipe['immutable_id']}/rattle-1"
    assert np.all(second.target.positions == first.target.positions)
    assert not np.any(second.start.positions == third.start.positions)
    for case in cases:
        assert (case.start.n_atoms, case.start.source, case.recipe["seed"]) == (16, "generated", 7)
        for structure in (case.start, case.target):
            assert structure.energy_ev is None
            assert structure.forces_ev_per_ang is None


def test_rattled_atoms_are_off_by_the_stated_standard_deviation_per_direction():
    cases = make_cases(1, n_rattles=40, rattle_ang=0.05, min_atoms=64)
    moves = np.concatenate([case.start.positions - case.target.positions for case in cases[1:]])
    assert moves.std(axis=0) == pytest.approx([0.05] * 3, rel=0.05)
    assert all(np.all(case.start.lattice == case.target.lattice) for case in cases)


def test_only_relaxed_end_points_of_the_stated_size_are_taken():
    structures = [
        make_structure("relaxed", fmax=0.04),
        make_structure("at-the-limit", fmax=0.05),
        make_structure("strained", fmax=0.2),
        make_structure("without-forces", fmax=None),
        make_structure("large", n=3),
    ]
    cases = rattle_relax.make_cases(structures, RattleRelaxParams(max_atoms=16))
    assert {case.recipe["immutable_id"] for case in cases} == {"relaxed"}


def test_a_supercell_above_max_atoms_is_left_out():
    assert len(make_cases(1, min_atoms=17, max_atoms=32)) == 2
    assert make_cases(1, min_atoms=17, max_atoms=31) == []


def test_min_atoms_above_max_atoms_is_an_error_that_names_both():
    with pytest.raises(InputError, match="min_atoms 40 is above max_atoms 39"):
        make_cases(1, min_atoms=40, max_atoms=39)


def test_choice_and_noise_do_not_depend_on_the_order_of_the_input_nor_on_repeated_rows():
    structures = [make_structure(f"id-{i}") for i in range(12)]
    params = RattleRelaxParams(max_structures=3, seed=4)
    first = rattle_relax.make_cases(structures, params)
    second = rattle_relax.make_cases([*structures[::-1], structures[5]], params)
    assert [case.recipe for case in first] == [case.recipe for case in second]
    assert [case.start.content_hash for case in first] == [case.start.content_hash for case in second]
    assert len({case.recipe["immutable_id"] for case in first}) == 3


def test_another_seed_makes_another_choice_and_other_noise():
    structures = [make_structure(f"id-{i}") for i in range(12)]
    chosen = [
        [
            case.recipe["immutable_id"]
            for case in rattle_relax.make_cases(structures, RattleRelaxParams(seed=s, max_structures=6))
        ]
        for s in (0, 1)
    ]
    assert chosen[0] != chosen[1]
    starts = [make_cases(1, seed=seed)[1].start.positions for seed in (0, 1)]
    assert not np.any(starts[0] == starts[1])


def test_the_noise_of_a_structure_does_not_depend_on_what_else_is_chosen():
    few, many = make_cases(1), make_cases(4, n_rattles=3)
    same = [case for case in many if case.recipe["immutable_id"] == "id-0"]
    assert np.all(few[1].start.positions == same[1].start.positions)


# --- metrics


def test_a_model_that_leaves_everything_where_it_is_scores_the_rattle():
    cases = make_cases(6, n_rattles=1, rattle_ang=0.05)
    found = by_name(rattle_relax.compute_metrics(cases, [finish(c.start) for c in cases], np.random.default_rng(0)))
    expected = []
    for case in cases:
        moved = case.start.positions - case.target.positions
        moved = moved - moved.mean(axis=0)
        expected.append(math.sqrt(sum(float(v @ v) for v in moved) / len(moved)))
    assert found["displacement_rmsd_mean_ang"].value == pytest.approx(sum(expected) / 12, abs=1e-9)
    assert found["displacement_rmsd_median_ang"].value == pytest.approx(np.median(expected), abs=1e-9)
    assert found["displacement_rmsd_mean_ang"].n == found["displacement_rmsd_median_ang"].n == 12
    low, high = found["displacement_rmsd_mean_ang"].ci_low, found["displacement_rmsd_mean_ang"].ci_high
    assert low <= found["displacement_rmsd_mean_ang"].value <= high
    assert found["volume_change_mean_fraction"].value == pytest.approx(0, abs=1e-12)
    assert found["convergence_rate"].value == 1


def test_rows_of_cells_relaxed_by_hand():
    unrattled, rattled = make_cases(1)
    grown = replace(finish(rattled.target, energy=-159.2), lattice=rattled.target.lattice * 1.1)
    grown = replace(grown, positions=rattled.target.positions * 1.1 + 30.0)
    rows = rattle_relax.compute_rows([unrattled, rattled], [finish(unrattled.start, energy=-160.0), grown])
    assert rows[0]["energy_above_unrattled_ev_per_atom"] is None
    assert rows[0]["displacement_rmsd_ang"] == pytest.approx(0, abs=1e-12)
    assert rows[1]["displacement_rmsd_ang"] == pytest.approx(0, abs=1e-9)
    assert rows[1]["volume_change_fraction"] == pytest.approx(0.331)
    assert rows[1]["energy_above_unrattled_ev_per_atom"] == pytest.approx(0.8 / 16)


def test_energy_above_unrattled_needs_its_own_unrattled_case_converged():
    cases = make_cases(3, n_rattles=1)
    energies = {"id-0": -10.0, "id-1": -20.0, "id-2": -30.0}
    relaxations = [
        finish(
            case.start,
            energy=energies[case.recipe["immutable_id"]] + 1.6 * case.recipe["rattle"],
            converged=case.recipe["immutable_id"] != "id-1",
        )
        for case in cases
    ]
    found = by_name(rattle_relax.compute_metrics(cases, relaxations, np.random.default_rng(0)))
    metric = found["energy_above_unrattled_mean_ev_per_atom"]
    assert (metric.value, metric.n) == (pytest.approx(0.1), 2)


def test_the_unconverged_are_averaged_and_the_failed_are_counted():
    cases = make_cases(3, n_rattles=1)
    relaxations = [finish(case.start, converged=case.recipe["rattle"] == 0) for case in cases]
    relaxations[1] = finish(cases[1].start, energy=None)
    found = by_name(rattle_relax.compute_metrics(cases, relaxations, np.random.default_rng(0)))
    assert (found["convergence_rate"].value, found["convergence_rate"].n) == (0.5, 6)
    assert (found["failed_count"].value, found["failed_count"].n) == (1, 6)
    assert found["displacement_rmsd_mean_ang"].n == found["volume_change_mean_fraction"].n == 5
    assert found["force_calls_median"].n == 3
    assert rattle_relax.compute_rows(cases, relaxations)[1] == {
        "displacement_rmsd_ang": None,
        "rmsd_normalized": None,
        "volume_change_fraction": None,
        "energy_above_unrattled_ev_per_atom": None,
        "symmetry_kept_1e2": False,
        "symmetry_kept_1e5": False,
    }


def test_comparison_pairs_the_cases_for_which_both_have_a_number():
    cases = make_cases(6, n_rattles=1)
    baseline = [finish(case.start, calls=40) for case in cases]
    candidate = [finish(case.target, calls=25) for case in cases]
    candidate[3] = finish(cases[3].start, energy=None, calls=0)
    found = by_name(rattle_relax.compare(cases, baseline, candidate, np.random.default_rng(0)))
    before = [row["displacement_rmsd_ang"] for row in rattle_relax.compute_rows(cases, baseline)]
    expected = -sum(b for i, b in enumerate(before) if i != 3) / 11
    assert found["displacement_rmsd_mean_ang"].value == pytest.approx(expected, abs=1e-12)
    assert found["displacement_rmsd_mean_ang"].n == 11
    assert found["displacement_rmsd_mean_ang"].ci_high <= 0
    assert (found["force_calls_mean"].value, found["force_calls_mean"].n) == (-15, 11)
    assert (found["convergence_rate"].value, found["convergence_rate"].n) == (-1 / 12, 12)


def test_without_a_case_every_number_is_none():
    for metric in rattle_relax.compute_metrics([], [], np.random.default_rng(0)):
        assert (metric.value, metric.n) == ((0, 0) if metric.name == "failed_count" else (None, 0))


def test_rmsd_normalized_is_pymatgens_over_the_edge_of_a_cube_of_one_atom():
    _, rattled = make_cases(1, rattle_ang=0.05)
    (row,) = rattle_relax.compute_rows([rattled], [finish(rattled.start)])
    edge = (rattled.target.volume_ang3 / rattled.target.n_atoms) ** (1 / 3)
    assert row["rmsd_normalized"] == pytest.approx(row["displacement_rmsd_ang"] / edge, abs=1e-9)
    lattice, species = rattled.target.lattice, list(rattled.target.species)
    cells = [
        PymatgenStructure(lattice, species, positions, coords_are_cartesian=True)
        for positions in (rattled.target.positions, rattled.start.positions)
    ]
    plain = StructureMatcher(stol=1.0, scale=False, primitive_cell=False).get_rms_dist(*cells)[0]
    assert row["rmsd_normalized"] == pytest.approx(plain, abs=1e-9)


def test_a_cell_that_no_longer_matches_its_target_counts_as_one():
    target = make_structure("target")
    assert rattle_relax.match_normalized(replace(target, lattice=target.lattice * 1.5), target) == 1.0


def test_symmetry_is_kept_within_its_tolerance_and_is_no_question_in_p1():
    target = make_structure("target")
    moved = target.positions.copy()
    moved[0, 0] += 1e-3
    nearly = replace(target, positions=moved)
    assert rattle_relax.keeps_symmetry(target, target, 1e-5)
    assert rattle_relax.keeps_symmetry(nearly, target, 1e-2)
    assert rattle_relax.keeps_symmetry(nearly, target, 1e-5) is False
    assert rattle_relax.keeps_symmetry(None, target, 1e-5) is False
    p1 = replace(target, positions=target.positions + np.random.default_rng(0).normal(0, 0.2, (8, 3)))
    assert rattle_relax.keeps_symmetry(p1, p1, 1e-2) is None


def test_symmetry_kept_is_a_rate_over_targets_with_symmetry():
    cases = make_cases(3, n_rattles=1)
    relaxations = [finish(case.target if case.recipe["rattle"] == 0 else case.start) for case in cases]
    relaxations[0] = finish(cases[0].start, energy=None)
    found = by_name(rattle_relax.compute_metrics(cases, relaxations, np.random.default_rng(0)))
    for name in ("symmetry_kept_rate_1e2", "symmetry_kept_rate_1e5"):
        assert (found[name].value, found[name].n) == (2 / 6, 6)
