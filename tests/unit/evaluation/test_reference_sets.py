"""The bundled reference sets are what their card says, and fair to the bundled model."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from heo_core.assets import HEO_MINI_DIR, REFERENCE_DIR
from heo_core.errors import InputError
from heo_core.evaluation.reference_sets import REFERENCE_SETS, hash_structures, load_reference_set
from heo_core.labelling.gpaw_engine import FUNCTIONAL, make_settings
from heo_core.params import GpawParams


def load_split():
    return json.loads((HEO_MINI_DIR / "split.json").read_text())


@pytest.mark.parametrize("name", REFERENCE_SETS)
def test_a_set_is_what_its_card_says(name):
    card = json.loads((REFERENCE_DIR / "card.json").read_text())[name]
    cases = load_reference_set(name)
    structures = [case.start for case in cases]
    assert len(cases) == card["n_cells"]
    assert hash_structures(structures) == card["sha256"] == cases[0].recipe["sha256"]
    assert hash_structures(structures[::-1]) == card["sha256"]
    assert hash_structures(structures[1:]) != card["sha256"]
    assert len({s.content_hash for s in structures}) == len({s.immutable_id for s in structures}) == len(structures)


@pytest.mark.parametrize("name", [name for name in REFERENCE_SETS if name != "dft-offeq"])
def test_every_cell_has_all_labels_and_says_that_they_are_no_dft(name):
    for case in load_reference_set(name):
        structure = case.start
        assert structure.functional == "7net-0 (surrogate, not DFT)"
        assert np.isfinite(structure.energy_ev)
        assert structure.forces_ev_per_ang.shape == structure.positions.shape == (structure.n_atoms, 3)
        assert np.allclose(structure.stress_ev_per_ang3, structure.stress_ev_per_ang3.T)
        assert case.recipe["kind"]
        assert case.recipe["prototype"]


def test_no_system_off_equilibrium_was_trained_or_chosen_on_by_the_bundled_model():
    split = load_split()
    systems = {case.start.chemical_system for case in load_reference_set("off-equilibrium")}
    assert systems <= set(split["test"])
    assert not systems & (set(split["train"]) | set(split["valid"]) | set(split["sample"]))


def test_cells_off_equilibrium_have_forces_but_no_wild_ones_and_every_prototype():
    cases = load_reference_set("off-equilibrium")
    assert {case.recipe["kind"] for case in cases} == {"rattled", "relaxing"}
    assert {case.recipe["prototype"] for case in cases} >= {
        "rocksalt",
        "perovskite",
        "spinel",
        "fluorite",
        "pyrochlore",
    }
    assert {case.recipe["prototype"] for case in cases} >= {"rutile", "rp", "bixbyite", "corundum"}
    assert all(0.1 <= case.start.fmax_ev_per_ang <= 10.0 for case in cases)


def test_the_holdout_is_of_fewer_elements_than_a_high_entropy_oxide_and_of_no_trained_system():
    split = load_split()
    for name in ("holdout", "equation-of-state"):
        systems = {case.start.chemical_system for case in load_reference_set(name)}
        assert all(2 <= len(system.split("-")) < 5 for system in systems)
        assert all("O" in system.split("-") for system in systems)
        assert not systems & (set(split["train"]) | set(split["valid"]))


def test_each_oxide_has_nine_volumes_around_its_relaxed_one():
    factors: dict[str, list[float]] = {}
    for case in load_reference_set("equation-of-state"):
        factors.setdefault(case.recipe["material"], []).append(case.recipe["volume_factor"])
    assert len(factors) >= 20
    assert {tuple(found) for found in factors.values()} == {(0.9, 0.925, 0.95, 0.975, 1.0, 1.025, 1.05, 1.075, 1.1)}


def test_the_sets_are_small():
    assert sum(file.stat().st_size for file in REFERENCE_DIR.iterdir()) < 1_500_000


def test_the_cells_by_dft_say_how_they_were_made_and_are_only_those_that_converged():
    about = json.loads((REFERENCE_DIR / "card.json").read_text())["dft-offeq"]
    assert about["settings"] == make_settings(GpawParams(preset="standard"))
    assert {version["gpaw"] for version in about["versions"]} == {"26.7.0"}
    assert len(about["failures"]) == about["n_failed"]
    table = pq.read_table(REFERENCE_DIR / "dft-offeq.parquet")
    assert json.loads(table.schema.metadata[b"labels"])["failures"] == about["failures"]
    assert not set(about["failures"]) & set(table["immutable_id"].to_pylist())
    for row in table.to_pylist():
        assert len(row["moments_mub"]) == len(row["species_at_sites"])
        assert row["magnetic_start"] in about["settings"]["magnetic_starts"]
        assert row["functional"] == FUNCTIONAL
        assert row["stress_tensor"] is None


def test_the_cells_by_dft_are_mixed_oxides_off_equilibrium_that_push_nothing_as_a_whole():
    cells = [case.start for case in load_reference_set("dft-offeq")]
    assert len(cells) >= 60
    known = {e for system in load_split()["train"] for e in system.split("-")}
    for cell in cells:
        assert len(set(cell.species)) >= 5
        assert set(cell.species) <= known
        assert 0.1 <= cell.fmax_ev_per_ang <= 10
        assert np.abs(cell.forces_ev_per_ang.sum(axis=0)).max() < 0.004 * cell.n_atoms


def test_an_unknown_set_is_refused_with_the_names_there_are():
    with pytest.raises(InputError, match="no reference set 'holdouts'; there is: off-equilibrium, holdout, equation"):
        load_reference_set("holdouts")
