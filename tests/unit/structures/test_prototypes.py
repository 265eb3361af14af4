"""Parent crystals are what their names say, and start at the size of the real oxides."""

from itertools import product

import numpy as np
import pytest

from heo_core.errors import InputError
from heo_core.params import PROTOTYPE_NAMES
from heo_core.structures.prototypes import PROTOTYPES, get_prototype

# Edges or, where edges differ, cube root of the volume of the conventional cell, Å: the literature's, room temperature.
LATTICES = [
    ("rocksalt", "Mg", 4.212),
    ("rocksalt", "Ni", 4.177),
    ("rocksalt", "Co", 4.260),
    ("rocksalt", "Mn", 4.445),
    ("rocksalt", "Fe", 4.31),
    ("rocksalt", "Ca", 4.811),
    ("fluorite", "Ce", 5.411),
    ("fluorite", "Th", 5.597),
    ("perovskite", "Sr Ti", 3.905),
    ("perovskite", "Ba Zr", 4.193),
    ("perovskite", "K Ta", 3.989),
    ("perovskite-pnma", "Gd Fe", (5.611 * 7.669 * 5.349) ** (1 / 3)),
    ("perovskite-pnma", "La Fe", (5.565 * 7.854 * 5.553) ** (1 / 3)),
    ("perovskite-pnma", "Ca Ti", (5.442 * 7.640 * 5.380) ** (1 / 3)),
    ("spinel", "Mg Al", 8.083),
    ("spinel", "Zn Fe", 8.441),
    ("pyrochlore", "Gd Ti", 10.185),
    ("pyrochlore", "La Zr", 10.80),
    ("bixbyite", "Y", 10.604),
    ("bixbyite", "In", 10.117),
    ("corundum", "Al", (4.759**2 * 12.991 * np.sqrt(0.75)) ** (1 / 3)),
    ("corundum", "Cr", (4.958**2 * 13.594 * np.sqrt(0.75)) ** (1 / 3)),
    ("rutile", "Ti", (4.594**2 * 2.959) ** (1 / 3)),
    ("rutile", "Sn", (4.738**2 * 3.187) ** (1 / 3)),
    ("alpha-pbo2", "Ti", (4.541 * 5.493 * 4.906) ** (1 / 3)),
    ("alpha-pbo2", "Pb", (4.988 * 5.951 * 5.497) ** (1 / 3)),
    ("ruddlesden-popper", "Sr Ti", (3.886**2 * 12.594) ** (1 / 3)),
    ("ruddlesden-popper", "La Ni", (3.86**2 * 12.69) ** (1 / 3)),
    ("ruddlesden-popper-2", "Sr Ru", (3.888**2 * 20.73) ** (1 / 3)),
]


def occupy(prototype, cations):
    names = [part.name for part in prototype.sublattices]
    return {name: {cation: 1.0} for name, cation in zip(names, cations.split(), strict=True)}


@pytest.mark.parametrize("name", PROTOTYPE_NAMES)
def test_a_prototype_has_its_formula_and_its_space_group(name):
    import moyopy

    prototype = get_prototype(name)
    sites = [*(part.sites for part in prototype.sublattices), prototype.anion_sites]
    kinds = [kind for kind, places in enumerate(sites, start=1) for _ in places]
    cell = moyopy.Cell(prototype.lattice.tolist(), np.concatenate(sites).tolist(), kinds)
    symmetry = moyopy.MoyoDataset(cell, symprec=1e-3)
    assert (symmetry.number, prototype.formula, len(kinds)) == {
        "rocksalt": (225, "MO", 8),
        "fluorite": (225, "MO2", 12),
        "perovskite": (221, "ABO3", 5),
        "perovskite-pnma": (62, "ABO3", 20),
        "spinel": (227, "AB2O4", 56),
        "pyrochlore": (227, "A2B2O7", 88),
        "bixbyite": (206, "M2O3", 80),
        "corundum": (167, "M2O3", 30),
        "rutile": (136, "MO2", 6),
        "alpha-pbo2": (60, "MO2", 12),
        "ruddlesden-popper": (139, "A2BO4", 14),
        "ruddlesden-popper-2": (139, "A3B2O7", 24),
    }[name]
    assert (prototype.space_group_number, prototype.n_atoms) == (symmetry.number, len(kinds))


def test_every_prototype_of_the_parameters_is_there_and_no_other():
    assert tuple(PROTOTYPES) == PROTOTYPE_NAMES


@pytest.mark.parametrize(
    ("name", "sublattice", "coordination"),
    [
        ("rocksalt", "cation", 6),
        ("fluorite", "cation", 8),
        ("spinel", "A", 4),
        ("spinel", "B", 6),
        ("pyrochlore", "B", 6),
    ],
)
def test_a_site_has_its_oxygens_in_the_first_shell_and_the_next_far_away(name, sublattice, coordination):
    prototype = get_prototype(name)
    part = next(part for part in prototype.sublattices if part.name == sublattice)
    shifts = np.array(list(product((-1, 0, 1), repeat=3)))
    separations = (prototype.anion_sites[:, None] + shifts - part.sites[0]).reshape(-1, 3) @ prototype.lattice
    distances = np.sort(np.linalg.norm(separations, axis=1))
    assert part.coordination == coordination
    assert distances[:coordination] == pytest.approx(np.full(coordination, part.bond_ang))
    assert distances[coordination] > 1.5 * part.bond_ang


@pytest.mark.parametrize(("name", "cations", "edge"), LATTICES)
def test_the_start_lattice_of_a_real_oxide_is_within_two_per_cent_of_experiment(name, cations, edge):
    prototype = get_prototype(name)
    lattice = prototype.compute_lattice(occupy(prototype, cations))
    assert np.linalg.det(lattice) ** (1 / 3) == pytest.approx(edge, rel=0.02)
    assert lattice / lattice[0, 0] == pytest.approx(prototype.lattice / prototype.lattice[0, 0])


def test_rock_salt_cells_touch_along_the_edge_at_the_mean_radius():
    # Shannon, six-fold: Mg 0.72, Ca 1.00, O 1.40
    lattice = get_prototype("rocksalt").compute_lattice({"cation": {"Mg": 0.25, "Ca": 0.75}})
    assert lattice == pytest.approx(np.eye(3) * 2 * (0.25 * 0.72 + 0.75 * 1.00 + 1.40))


def test_radii_follow_the_charges_that_balance_the_oxygen():
    # Li+ 0.76 and Fe3+ 0.645, not Fe2+ 0.78
    lattice = get_prototype("rocksalt").compute_lattice({"cation": {"Fe": 0.5, "Li": 0.5}})
    assert lattice[0, 0] == pytest.approx(2 * ((0.76 + 0.645) / 2 + 1.40))


def test_an_unknown_prototype_is_named_with_those_there_are():
    with pytest.raises(InputError, match=f"'wurtzite' is unknown; allowed: {', '.join(PROTOTYPES)}"):
        get_prototype("wurtzite")
