"""Competing oxides are the crystals that they are called after, and a set of references is what its name says."""

import numpy as np
import pytest

from heo_core.curation.distances import compute_smallest_distance
from heo_core.errors import InputError
from heo_core.params import StabilityParams
from heo_core.stability.oxides import POLYMORPHS, Oxide, choose_references, compute_mixture_energy, make_oxide
from heo_core.structures.symmetry import find_space_group

STILL = {prototype: StabilityParams(prototype=prototype, rattle_ang=0) for prototype in ("rocksalt", "fluorite")}
OXIDES = [Oxide("Cu", "rocksalt", -5.3), Oxide("Cu", "tenorite", -5.4), Oxide("Cu", "wurtzite", None, "collapsed")]


@pytest.mark.parametrize(
    ("cation", "polymorph", "group", "edges"),
    [
        ("Zn", "wurtzite", 186, (3.2495, 3.2495, 5.2069)),
        ("Cu", "tenorite", 15, (4.6837, 3.4226, 5.1288)),
        ("Mg", "rocksalt", 225, (4.212, 4.212, 4.212)),
        ("Ce", "fluorite", 225, (5.411, 5.411, 5.411)),
    ],
)
def test_an_oxide_has_the_symmetry_and_nearly_the_size_of_the_real_one(cation, polymorph, group, edges):
    prototype = next(name for name, crystals in POLYMORPHS.items() if polymorph in crystals)
    oxide = make_oxide(cation, polymorph, STILL[prototype])
    assert find_space_group(oxide) == group
    assert np.linalg.norm(oxide.lattice, axis=1) == pytest.approx(edges, rel=0.02)
    assert compute_smallest_distance(oxide.lattice, oxide.positions) > 1.8


def test_every_crystal_of_a_prototype_has_its_formula():
    for prototype, crystals in POLYMORPHS.items():
        rest = {"A": "Ba"} if prototype == "perovskite" else {}
        params = StabilityParams(prototype=prototype, rest=rest)
        formulas = {make_oxide("Ti", crystal, params).formula_reduced for crystal in crystals}
        assert len(formulas) == 1


def test_ground_states_are_the_lowest_and_end_members_stay_on_the_crystal():
    assert choose_references("ground-states", ["Cu"], OXIDES, "rocksalt")["Cu"].polymorph == "tenorite"
    assert choose_references("end-members", ["Cu"], OXIDES, "rocksalt")["Cu"].polymorph == "rocksalt"
    published = choose_references("almishal-2025", ["Cu", "Sr"], OXIDES, "rocksalt")
    assert (published["Cu"].energy_ev_per_atom, published["Cu"].polymorph) == (-5.4644, "almishal-2025")
    assert published["Sr"].energy_ev_per_atom is None
    assert "it has Mg, Ca, Mn" in published["Sr"].failure


def test_a_mixture_of_oxides_has_the_mean_of_their_energies_or_none():
    assert (
        compute_mixture_energy({"Mg": 0.25, "Ni": 0.75}, {"Mg": Oxide("Mg", "x", -4.0), "Ni": Oxide("Ni", "x", -8.0)})
        == -7
    )
    with pytest.raises(InputError, match="the oxide of Cu has no energy: wurtzite: collapsed"):
        compute_mixture_energy({"Cu": 1.0}, choose_references("ground-states", ["Cu"], OXIDES[2:], "rocksalt"))


def test_the_lowest_of_some_crystals_names_those_that_failed():
    found = [Oxide("Zn", "rocksalt", -4.9), Oxide("Zn", "wurtzite", None, "collapsed")]
    lowest = choose_references("ground-states", ["Zn"], found, "rocksalt")["Zn"]
    assert lowest.energy_ev_per_atom == -4.9
    assert lowest.failure == "rocksalt is the lowest of those that relaxed; not wurtzite: collapsed"
