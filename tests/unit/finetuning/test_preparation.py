"""E0s that meet another energy scale, cells to replay, and the files that MACE reads."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import ase.io
import mace.modules
import numpy as np
import pytest
from mace.data import AtomicData, KeySpecification, config_from_atoms
from mace.tools import AtomicNumberTable
from mace.tools.torch_geometric import Batch
from test_finetuning import make_structures

from heo_core.errors import InputError
from heo_core.finetuning.e0s import average_e0s, estimate_e0s, write_with_e0s
from heo_core.finetuning.preparation import prepare_training
from heo_core.finetuning.replay import (
    ReplayCell,
    label_cells,
    load_taught_cells,
    make_replay_cells,
    shift_energies,
)
from heo_core.finetuning.training_set import make_training_set, to_labelled_atoms
from heo_core.models import Potential, describe, inspect_file, load_model, resolve_model
from heo_core.params import FinetuneParams, ReplayParams
from heo_core.records import Prediction, Structure


def make_compositions() -> list[Structure]:
    """Cells of 2 to 5 atoms of Mg, Ni and O in different ratios; geometry does not matter here."""
    return [
        Structure(
            5 * np.eye(3), np.zeros((a + b + c, 3)), ("Mg",) * a + ("Ni",) * b + ("O",) * c, f"own-{a}{b}{c}", "own"
        )
        for a in (1, 2)
        for b in (0, 1, 2)
        for c in (1, 2)
    ]


def test_a_composition_linear_error_is_found_to_its_digits() -> None:
    shifts = {"Mg": 0.3, "Ni": -0.2, "O": 0.05}
    structures = [
        replace(s, energy_ev=-5.0 * s.n_atoms + sum(shifts[symbol] for symbol in s.species))
        for s in make_compositions()
    ] * 2000
    predictions = [Prediction(-5.0 * s.n_atoms, None) for s in structures]
    found, left_out = estimate_e0s(structures, predictions, {"Mg": 1.0, "Ni": 2.0, "O": 3.0, "Zn": 4.0})
    assert found == pytest.approx({"Mg": 1.3, "Ni": 1.8, "O": 3.05, "Zn": 4.0}, abs=2e-3)
    assert left_out == {}


def test_rows_of_another_calculation_do_not_move_the_e0s_and_are_named() -> None:
    rows = [replace(s, immutable_id=f"own-{i}", energy_ev=-5.0 * s.n_atoms) for i, s in enumerate(make_compositions())]
    rng = np.random.default_rng(0)
    predictions = [Prediction((-5.0 + rng.normal(0, 0.01)) * s.n_atoms, None) for s in rows]
    e0s = dict.fromkeys(("Mg", "Ni", "O"), 1.0)
    found, left_out = estimate_e0s(rows, predictions, e0s)
    assert left_out == {}
    rows[4] = replace(rows[4], energy_ev=-3.5 * rows[4].n_atoms)
    again, left_out = estimate_e0s(rows, predictions, e0s)
    assert again == pytest.approx(found, abs=0.02)
    assert left_out == pytest.approx({"own-4": -1.5}, abs=0.05)


def test_rows_of_a_rare_element_are_not_taken_for_rows_of_another_calculation() -> None:
    rng, rows = np.random.default_rng(0), [replace(s, energy_ev=-5.0 * s.n_atoms) for s in make_compositions()] * 50
    rare = [replace(s, species=("Ce", *s.species[1:]), energy_ev=-5.0 * s.n_atoms - 3.0) for s in rows[:3]]
    predictions = [Prediction((-5.0 + rng.normal(0, 0.01)) * s.n_atoms, None) for s in (*rows, *rare)]
    found, left_out = estimate_e0s([*rows, *rare], predictions, dict.fromkeys(("Mg", "Ni", "O", "Ce"), 0.0))
    assert left_out == {}
    assert found["Ce"] < -1.0


def test_a_row_that_only_another_one_makes_look_far_is_not_left_out() -> None:
    rows = [replace(s, energy_ev=-5.0 * s.n_atoms) for s in make_compositions()] * 20
    cerium = replace(rows[0], species=("Ce", *rows[0].species[1:]), immutable_id="own-good")
    odd = replace(cerium, immutable_id="own-odd", energy_ev=-3.0 * cerium.n_atoms)
    rows += [cerium, odd]
    predictions = [Prediction(-5.0 * s.n_atoms, None) for s in rows]
    found, left_out = estimate_e0s(rows, predictions, dict.fromkeys(("Mg", "Ni", "O", "Ce"), 0.0))
    assert left_out == pytest.approx({"own-odd": -2.0}, abs=1e-6)
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=1e-6)


def test_rows_that_differ_from_a_perfect_majority_by_less_than_a_tenth_are_fitted() -> None:
    rows = [replace(s, immutable_id=f"own-{i}", energy_ev=-5.0 * s.n_atoms) for i, s in enumerate(make_compositions())]
    predictions = [Prediction(s.energy_ev + (0.05 * s.n_atoms if i == 4 else 0.0), None) for i, s in enumerate(rows)]
    found, left_out = estimate_e0s(rows, predictions, dict.fromkeys(("Mg", "Ni", "O"), 0.0))
    assert left_out == {}
    assert any(abs(shift) > 1e-3 for shift in found.values())


def test_averaged_e0s_give_the_energies_by_themselves() -> None:
    atoms = {"Mg": -1.5, "Ni": -3.0, "O": -7.0}
    structures = [replace(s, energy_ev=sum(atoms[symbol] for symbol in s.species)) for s in make_compositions()]
    assert average_e0s(structures, {"Mg": 0.0, "Ni": 0.0, "O": 0.0, "Zn": 4.0}) == pytest.approx(atoms | {"Zn": 4.0})


def test_e0s_cannot_be_fitted_to_nothing() -> None:
    structures = make_compositions()
    with pytest.raises(InputError, match="no structure of the training split has both"):
        estimate_e0s(structures, [Prediction(None, None, failure="x")] * len(structures), {})
    with pytest.raises(InputError, match="no structure of the training split has an energy"):
        average_e0s(structures, {})


def test_written_e0s_shift_energies_and_nothing_else(tmp_path: Path) -> None:
    foundation = resolve_model("heo-mini")
    e0s = describe(foundation)["e0s"]
    write_with_e0s(foundation, e0s | {"Mg": e0s["Mg"] + 1.0, "O": e0s["O"] - 0.25}, tmp_path / "shifted.model")
    structures = make_structures(2)
    before, after = (
        load_model(model, device="cpu", dtype="float64").predict(structures)
        for model in (foundation, inspect_file(tmp_path / "shifted.model"))
    )
    for old, new in zip(before, after, strict=True):
        # One magnesium and four oxygens.
        assert new.energy_ev - old.energy_ev == pytest.approx(1.0 - 4 * 0.25, abs=1e-5)
        np.testing.assert_allclose(new.forces_ev_per_ang, old.forces_ev_per_ang, atol=1e-9)


def test_copies_to_replay_depend_on_the_seed_alone_and_stay_within_their_bounds() -> None:
    structures, params = (
        make_structures(3),
        ReplayParams(structures="train", n_cells=7, rattle_ang=0.1, strain=0.03, shuffled_fraction=0),
    )
    cells = make_replay_cells(structures, params, np.random.default_rng(5))
    again = make_replay_cells(structures, params, np.random.default_rng(5))
    assert [c.structure.content_hash for c in cells] == [c.structure.content_hash for c in again]
    assert len({c.structure.content_hash for c in cells}) == 7
    for cell in cells:
        assert (cell.structure.energy_ev, cell.structure.forces_ev_per_ang) == (None, None)
        tensor = np.linalg.solve(4.2 * np.eye(3), cell.structure.lattice) - np.eye(3)
        assert np.abs(tensor).max() <= 0.03
        np.testing.assert_allclose(tensor, tensor.T, atol=1e-12)
        moved = cell.row.positions @ (np.eye(3) + tensor) + cell.displacement
        np.testing.assert_allclose(moved, cell.structure.positions, atol=1e-12)


def test_shuffled_copies_keep_their_oxygen_and_composition_and_have_no_row_to_be_anchored_to() -> None:
    structures, params = make_structures(3), ReplayParams(structures="train", n_cells=10, shuffled_fraction=0.4)
    cells = make_replay_cells(structures, params, np.random.default_rng(1))
    shuffled = [cell for cell in cells if cell.row is None]
    assert len(shuffled) == 4
    for cell in shuffled:
        assert sorted(cell.structure.species) == sorted(structures[0].species)
        assert cell.structure.species[4:] == ("O",) * 4
    assert any(cell.structure.species != structures[0].species for cell in shuffled)


def test_a_dataset_is_replayed_as_it_is_and_no_further_than_it_goes() -> None:
    structures = make_structures(3)
    params = ReplayParams(structures="others", n_cells=10)
    cells = make_replay_cells(structures, params, np.random.default_rng(0))
    assert sorted(c.structure.immutable_id for c in cells) == sorted(s.immutable_id for s in structures)


@pytest.fixture(scope="module")
def potential() -> Potential:
    loaded = load_model(resolve_model("heo-mini"), device="cpu", dtype="float64")
    for _ in range(3):  # torch compiles it in the first calls, which changes the last digit
        loaded.predict(make_structures(1))
    return loaded


def test_replayed_cells_carry_the_foundations_own_labels_and_no_exploded_one(potential: Potential) -> None:
    good, other = make_structures(1)[0], make_structures(1, cation="Pu")[0]
    crowded = replace(good, positions=good.positions * 0.5)
    params = ReplayParams(structures="others", labels="foundation", max_force_ev_per_ang=5.0)
    (labelled,) = label_cells([ReplayCell(s) for s in (good, other, crowded)], potential, params)
    (prediction,) = potential.predict([good])
    assert labelled.energy_ev == prediction.energy_ev
    np.testing.assert_array_equal(labelled.forces_ev_per_ang, prediction.forces_ev_per_ang)
    assert labelled.stress_ev_per_ang3 is not None
    assert labelled.functional == "heo-mini (foundation's labels)"


def test_an_anchored_copy_that_was_not_moved_has_the_labels_of_its_row(potential: Potential) -> None:
    row = make_structures(1)[0]
    params = ReplayParams(structures="train", n_cells=1, rattle_ang=0, strain=0, shuffled_fraction=0)
    (labelled,) = label_cells(make_replay_cells([row], params, np.random.default_rng(0)), potential, params)
    assert labelled.energy_ev == pytest.approx(row.energy_ev)
    np.testing.assert_allclose(labelled.forces_ev_per_ang, row.forces_ev_per_ang, atol=1e-9)


def test_anchored_forces_are_the_slope_of_anchored_energies(potential: Potential) -> None:
    row, params = make_structures(1)[0], ReplayParams(structures="train", n_cells=1, strain=0, shuffled_fraction=0)
    direction = np.random.default_rng(3).normal(size=row.positions.shape)
    step = 1e-4

    def label(distance: float) -> Structure:
        displacement = distance * direction
        cell = ReplayCell(replace(row, positions=row.positions + displacement), row, displacement)
        return label_cells([cell], potential, params)[0]

    slope = (label(0.05 + step).energy_ev - label(0.05 - step).energy_ev) / (2 * step)
    assert -np.sum(label(0.05).forces_ev_per_ang * direction) == pytest.approx(slope, rel=1e-4)


def test_replayed_cells_stand_beside_the_dataset_on_one_energy_scale(tmp_path: Path) -> None:
    foundation, replay = resolve_model("heo-mini"), ReplayParams(structures="train", n_cells=5)
    params = FinetuneParams(batch_size=2, replay=replay)
    # The dataset's energies lie 1 eV/atom above the foundation's scale.
    structures = [replace(s, energy_ev=s.energy_ev + s.n_atoms) for s in make_structures(6)]
    training_set = make_training_set(structures, make_structures(2), foundation, params)
    preparation = prepare_training(training_set, [], params, foundation=foundation, folder=tmp_path, device="cpu")
    frames = ase.io.read(tmp_path / "train.extxyz", index=":")
    assert preparation.replay is not None
    assert preparation.replay["n_cells"] == 5
    assert len(frames) == 11
    # The run's stress weight is that of replay: a curated row's stress has none of it.
    weights = [frame.info["config_stress_weight"] for frame in frames]
    assert weights == [0.0] * 6 + [1.0] * 5
    rows, cells = (np.array([f.info["REF_energy"] / len(f) for f in part]) for part in (frames[:6], frames[6:]))
    assert abs(rows.mean() - cells.mean()) < 0.5
    (saved,) = load_model(inspect_file(preparation.foundation), device="cpu", dtype="float64").predict(structures[:1])
    assert saved.energy_ev == pytest.approx(structures[0].energy_ev, abs=1.5)
    assert describe(inspect_file(preparation.foundation))["e0s"] == pytest.approx(preparation.e0s, abs=1e-5)


def test_heo_mini_replays_what_it_was_taught_and_the_energies_move_with_the_e0s(tmp_path: Path) -> None:
    foundation, params = resolve_model("heo-mini"), FinetuneParams(batch_size=2)
    structures = [replace(s, energy_ev=s.energy_ev + s.n_atoms) for s in make_structures(6)]
    training_set = make_training_set(structures, make_structures(2), foundation, params)
    preparation = prepare_training(training_set, [], params, foundation=foundation, folder=tmp_path, device="cpu")
    assert preparation.replay == {
        "structures": "foundation",
        "labels": "own",
        "n_cells": 54,
        "n_left_out": 0,
        "n_with_energies": 54,
        "row_copies": 3,
    }
    frames = ase.io.read(tmp_path / "train.extxyz", index=":")
    assert Counter(f.info["immutable_id"] for f in frames[:18]) == {s.immutable_id: 3 for s in structures}
    assert len({f.info["immutable_id"] for f in frames[18:]}) == 54
    before, taught = describe(foundation)["e0s"], {s.immutable_id: s for s in load_taught_cells(foundation)}
    for frame in frames[18:]:
        cell = taught[frame.info["immutable_id"]]
        shift = sum(preparation.e0s[symbol] - before[symbol] for symbol in cell.species)
        assert frame.info["REF_energy"] == pytest.approx(cell.energy_ev + shift, abs=1e-5)
        np.testing.assert_allclose(frame.arrays["REF_forces"], cell.forces_ev_per_ang, atol=1e-8)


@pytest.mark.parametrize(
    ("loss", "error", "ratio"),
    [("UniversalLoss", 1.0, 0.5), ("UniversalLoss", 1e-3, 0.25), ("WeightedEnergyForcesStressLoss", 1.0, 0.5)],
)
def test_the_weight_of_a_cell_is_read_by_each_of_maces_losses(loss: str, error: float, ratio: float) -> None:
    structures = [replace(s, stress_ev_per_ang3=np.full((3, 3), 0.2)) for s in make_structures(3)]

    def compute_loss(weight: float) -> float:
        keys = KeySpecification({"energy": "REF_energy", "stress": "REF_stress"}, {"forces": "REF_forces"})
        atoms = to_labelled_atoms(structures, weight=weight)
        table = AtomicNumberTable(sorted({int(z) for a in atoms for z in a.numbers}))
        configurations = [config_from_atoms(a, key_specification=keys) for a in atoms]
        batch = Batch.from_data_list([AtomicData.from_config(c, table, cutoff=3.0) for c in configurations])
        wrong = {name: batch[name] + error for name in ("energy", "forces", "stress")}
        return float(getattr(mace.modules, loss)(1.0, 1.0, 1.0)(batch, wrong))

    assert compute_loss(0.5) / compute_loss(1.0) == pytest.approx(ratio, rel=0.02)


@pytest.mark.parametrize(
    ("replay", "n_cells", "n_copies"),
    [
        (ReplayParams(), 54, 3),
        (ReplayParams(n_cells=30), 30, 2),
        (ReplayParams(n_cells=6), 6, 1),
        (ReplayParams(n_cells=6, row_copies=4), 6, 4),
        (ReplayParams(structures="train"), 6, 1),
        (ReplayParams(structures="train", row_copies=2), 6, 2),
    ],
)
def test_a_row_stands_in_a_pass_as_often_as_leaves_it_two_replayed_cells(
    tmp_path: Path, replay: ReplayParams, n_cells: int, n_copies: int
) -> None:
    foundation, params = resolve_model("heo-mini"), FinetuneParams(batch_size=2, replay=replay)
    training_set = make_training_set(make_structures(6), make_structures(2), foundation, params)
    preparation = prepare_training(training_set, [], params, foundation=foundation, folder=tmp_path, device="cpu")
    assert preparation.replay is not None
    assert (preparation.replay["n_cells"], preparation.replay["row_copies"]) == (n_cells, n_copies)
    assert len(ase.io.read(tmp_path / "train.extxyz", index=":")) == 6 * n_copies + n_cells


def test_an_output_head_of_their_own_leaves_the_replayed_cells_out_of_the_copied_rows(tmp_path: Path) -> None:
    foundation, replay = resolve_model("heo-mini"), ReplayParams(multiheads_finetuning=True)
    params = FinetuneParams(batch_size=2, replay=replay)
    training_set = make_training_set(make_structures(6), make_structures(2), foundation, params)
    prepare_training(training_set, [], params, foundation=foundation, folder=tmp_path, device="cpu")
    names = ("train", "replay", "replay-validation")
    counts = [len(ase.io.read(tmp_path / f"{name}.extxyz", index=":")) for name in names]
    assert counts == [18, 49, 5]


def test_a_shift_counts_every_atom() -> None:
    (structure,) = make_structures(1)
    (shifted,) = shift_energies([structure], {"Mg": 1.0, "Ni": 1.0, "Cu": 1.0, "Co": 1.0, "Zn": 1.0, "O": -0.25})
    assert shifted.energy_ev == pytest.approx(structure.energy_ev + 4 * 1.0 - 4 * 0.25)


def test_a_foundation_that_comes_without_cells_replays_copies_of_the_dataset(tmp_path: Path) -> None:
    bundled = resolve_model("heo-mini")
    write_with_e0s(bundled, describe(bundled)["e0s"] | {"Mg": -1.0}, tmp_path / "other.model")
    foundation, params = inspect_file(tmp_path / "other.model"), FinetuneParams(batch_size=2)
    training_set = make_training_set(make_structures(3), make_structures(2), foundation, params)
    preparation = prepare_training(training_set, [], params, foundation=foundation, folder=tmp_path, device="cpu")
    assert preparation.replay is not None
    assert {key: preparation.replay[key] for key in ("structures", "labels", "n_cells")} == {
        "structures": "train",
        "labels": "anchored",
        "n_cells": 3,
    }


def test_a_second_preparation_takes_what_the_first_has_written(tmp_path: Path) -> None:
    foundation, params = resolve_model("heo-mini"), FinetuneParams(batch_size=2, replay=ReplayParams(n_cells=3))
    training_set = make_training_set(make_structures(4), make_structures(2), foundation, params)
    arguments = {"foundation": foundation, "folder": tmp_path, "device": "cpu"}
    first = prepare_training(training_set, [], params, **arguments)
    written = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert prepare_training(training_set, [], params, **arguments) == first
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written


def test_own_labels_need_a_dataset() -> None:
    with pytest.raises(ValueError, match=r"replay\.labels is own, which needs a dataset"):
        FinetuneParams(replay=ReplayParams(labels="own"))


def test_a_dataset_that_cannot_be_replayed_is_said(tmp_path: Path) -> None:
    foundation = resolve_model("heo-mini")
    params = FinetuneParams(batch_size=2, replay=ReplayParams(structures="others", n_cells=3))
    training_set = make_training_set(make_structures(4), make_structures(2), foundation, params)
    with pytest.raises(InputError, match=r"none of the 2 cells to replay can be used: see replay\.structures='others'"):
        prepare_training(
            training_set,
            make_structures(2, cation="Pu"),
            params,
            foundation=foundation,
            folder=tmp_path,
            device="cpu",
        )
