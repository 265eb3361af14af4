"""Parent crystals are what their names say."""

import numpy as np
import pytest

from heo_core.errors import InputError
from heo_core.structures.prototypes import PROTOTYPES, find_ionic_radius, get_prototype


# spglib says so of its own calls; pymatgen has not followed yet
@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")
def test_rock_salt_has_six_neighbours_at_half_the_edge_and_the_right_space_group():
    from pymatgen.core import Lattice, Structure
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    prototype = get_prototype("rocksalt")
    assert (len(prototype.cation_sites), len(prototype.anion_sites), prototype.cations_per_anion) == (4, 4, 1)
    sites = np.concatenate([prototype.cation_sites, prototype.anion_sites])
    crystal = Structure(Lattice.cubic(4.2), ["Mg"] * 4 + ["O"] * 4, sites)
    for site in crystal:
        neighbours = crystal.get_neighbors(site, 2.2)
        assert len(neighbours) == 6
        assert all(n.nn_distance == pytest.approx(2.1) and n.species != site.species for n in neighbours)
    assert SpacegroupAnalyzer(crystal).get_space_group_symbol() == "Fm-3m"


@pytest.mark.parametrize(
    ("element", "a_experiment"),
    [("Mg", 4.212), ("Ni", 4.177), ("Co", 4.260), ("Mn", 4.445), ("Fe", 4.31), ("Ca", 4.811)],
)
def test_start_lattice_of_a_binary_oxide_is_within_two_per_cent_of_experiment(element, a_experiment):
    lattice = get_prototype("rocksalt").compute_lattice({element: 1.0})
    assert lattice == pytest.approx(np.eye(3) * a_experiment, rel=0.02, abs=1e-12)


def test_lattice_parameter_is_the_mean_over_the_composition():
    compute = get_prototype("rocksalt").compute_lattice
    mixed = compute({"Mg": 0.25, "Ca": 0.75})
    assert mixed == pytest.approx(0.25 * compute({"Mg": 1.0}) + 0.75 * compute({"Ca": 1.0}))


def test_ionic_radii_are_shannons_high_spin_six_fold():
    radii = {"Mg": 0.72, "Co": 0.745, "Mn": 0.83, "Fe": 0.78, "Ni": 0.69, "Cu": 0.73, "Zn": 0.74}
    assert {element: find_ionic_radius(element) for element in radii} == radii
    assert find_ionic_radius("Co", charge=3) == 0.61


def test_ionic_radius_of_an_element_without_the_charge_is_that_of_the_nearest():
    assert find_ionic_radius("Li") == 0.76
    assert find_ionic_radius("Al") == 0.535


@pytest.mark.parametrize("name", ["Xx", "He", "Ar"])
def test_what_has_no_ionic_radius_is_named(name):
    with pytest.raises(InputError, match=name):
        find_ionic_radius(name)


def test_an_unknown_prototype_is_named_with_those_there_are():
    with pytest.raises(InputError, match=f"'wurtzite' is unknown; allowed: {', '.join(PROTOTYPES)}"):
        get_prototype("wurtzite")
