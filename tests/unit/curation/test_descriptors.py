"""Sublattices, entropies and prototypes of crystals whose answer is known, disordered and displaced ones included."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from ase import Atoms
from ase.spacegroup import crystal

from heo_core.curation.descriptors import (
    PROTOTYPE_NAMES,
    compute_effective_coordination,
    compute_sublattice_entropy_r,
    describe,
    find_cation_sublattices,
    find_parent_crystal,
)
from heo_core.records import Structure

SHARED = Path(os.environ.get("HEO_SHARED", Path(__file__).parents[4] / "shared"))
REAL_ROWS = SHARED / "data" / "lemat_like"
CUBIC = [90, 90, 90]
HEXAGONAL = [90, 90, 120]
LN2, LN5 = np.log(2), np.log(5)


def build(species, sites, space_group, edges, angles=CUBIC, *, setting=1, formula):
    atoms = crystal(species, sites, spacegroup=space_group, cellpar=[*edges, *angles], setting=setting)
    assert atoms.get_chemical_formula(empirical=True) == Atoms(formula).get_chemical_formula(empirical=True)
    distances = atoms.get_all_distances(mic=True) + 9 * np.eye(len(atoms))
    assert distances.min() > 1.6, "the crystal was built wrongly"
    return atoms


def to_structure(atoms: Atoms) -> Structure:
    return Structure(np.array(atoms.cell[:]), atoms.positions, tuple(atoms.get_chemical_symbols()), "test", "test")


def substitute(atoms, element, cations, seed=0):
    """Put the cations on the sites of an element in equal numbers, as far as that goes, in random order."""
    atoms = atoms.copy()
    sites = np.flatnonzero(np.array(atoms.get_chemical_symbols()) == element)
    kinds = np.resize(np.array(cations), len(sites))
    for site, kind in zip(np.random.default_rng(seed).permutation(sites), kinds, strict=True):
        atoms[int(site)].symbol = str(kind)
    return atoms


def rattle(atoms, sigma_ang, seed=0):
    atoms = atoms.copy()
    atoms.positions += np.random.default_rng(seed).normal(0, sigma_ang, atoms.positions.shape)
    return atoms


def rocksalt():
    return build(["Mg", "O"], [(0, 0, 0), (0.5, 0.5, 0.5)], 225, [4.25] * 3, formula="MgO")


def perovskite():
    sites = [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0)]
    return build(["Sr", "Ti", "O"], sites, 221, [3.95] * 3, formula="SrTiO3")


def spinel():
    sites = [(1 / 8,) * 3, (0.5,) * 3, (0.2625,) * 3]
    return build(["Mg", "Al", "O"], sites, 227, [8.1] * 3, setting=2, formula="MgAl2O4")


def pyrochlore():
    sites = [(0.5,) * 3, (0, 0, 0), (0.3325, 1 / 8, 1 / 8), (3 / 8,) * 3]
    return build(["Y", "Ti", "O", "O"], sites, 227, [10.1] * 3, setting=2, formula="Y2Ti2O7")


def layered(z=0.26, c_ang=14.05):
    sites = [(0, 0, 0.5), (0, 0, 0), (0, 0, z)]
    return build(["Li", "Co", "O"], sites, 166, [2.816, 2.816, c_ang], HEXAGONAL, formula="LiCoO2")


FIVE_2 = ("Mg", "Ni", "Cu", "Co", "Zn")
FIVE_4 = ("Ti", "Zr", "Hf", "Sn", "Nb")


@pytest.mark.parametrize("sigma_ang", [0.05, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_a_rattled_rock_salt_is_one_sublattice_of_rock_salt(sigma_ang, seed):
    # 40 cations, so that five can be equally many
    atoms = rattle(substitute(rocksalt() * (2, 1, 5), "Mg", FIVE_2, seed), sigma_ang, seed)
    found = describe(to_structure(atoms))
    assert (found.prototype, found.parent_space_group_number, found.space_group_number) == ("rocksalt", 225, 1)
    assert found.space_group_symbol == "P1"
    assert found.cation_fractions == pytest.approx(dict.fromkeys(sorted(FIVE_2), 0.2))
    assert found.n_cations == 5
    for entropy in (found.entropy_pooled_r, found.entropy_sublattice_r, found.entropy_per_formula_r):
        assert entropy == pytest.approx(LN5)
    assert found.equimolarity_deviation == pytest.approx(0)
    assert found.radius_mismatch_percent == pytest.approx(2.6888, abs=1e-4)


@pytest.mark.parametrize("sigma_ang", [0.0, 0.05, 0.1])
def test_64_atoms_of_rock_salt_with_counts_as_equal_as_they_can_be(sigma_ang):
    structure = to_structure(rattle(substitute(rocksalt() * (2, 2, 2), "Mg", FIVE_2), sigma_ang))
    shares = np.array([7, 7, 6, 6, 6]) / 32
    assert find_parent_crystal(structure).prototype == "rocksalt"
    assert compute_sublattice_entropy_r(structure) == pytest.approx(-(shares * np.log(shares)).sum())


@pytest.mark.parametrize("sigma_ang", [0.0, 0.05, 0.1])
def test_a_perovskite_mixed_on_b_has_five_equal_cations_there_and_less_when_pooled(sigma_ang):
    atoms = rattle(substitute(perovskite() * (5, 2, 2), "Ti", FIVE_4), sigma_ang)
    structure = to_structure(atoms)
    found = describe(structure)
    assert (found.prototype, found.parent_space_group_number) == ("perovskite", 221)
    assert found.entropy_sublattice_r == pytest.approx(LN5)
    assert found.entropy_per_formula_r == pytest.approx(LN5)
    # half the cations are Sr: ln 2 for where a cation sits, ln 5 for half of them
    assert found.entropy_pooled_r == pytest.approx(LN2 + LN5 / 2)
    sublattices = find_cation_sublattices(structure)
    assert [(len(part.sites), part.per_formula) for part in sublattices] == [(20, 1), (20, 1)]
    assert {"Sr": 20} in [part.cations for part in sublattices]


def test_every_cation_site_is_in_exactly_one_sublattice():
    atoms = substitute(spinel(), "Al", FIVE_4)
    sites = [site for part in find_cation_sublattices(to_structure(atoms)) for site in part.sites]
    assert sorted(sites) == [atom.index for atom in atoms if atom.symbol != "O"]


@pytest.mark.parametrize("sigma_ang", [0.0, 0.05, 0.1])
@pytest.mark.parametrize(
    ("build_parent", "mixed", "prototype", "per_formula"),
    [(spinel, "Al", "spinel", {1, 2}), (pyrochlore, "Ti", "pyrochlore", {2})],
)
def test_spinel_and_pyrochlore_keep_their_two_sublattices(build_parent, mixed, prototype, per_formula, sigma_ang):
    structure = to_structure(rattle(substitute(build_parent(), mixed, ("Cr", "Fe")), sigma_ang))
    found = describe(structure)
    sublattices = find_cation_sublattices(structure)
    assert (found.prototype, found.parent_space_group_number) == (prototype, 227)
    assert len(sublattices) == 2
    assert {part.per_formula for part in sublattices} == per_formula
    assert found.entropy_sublattice_r == pytest.approx(LN2)
    # both have two of the mixed cations in a formula unit
    assert found.entropy_per_formula_r == pytest.approx(2 * LN2)


def test_mixing_on_two_sublattices_adds_up_per_formula_unit():
    atoms = substitute(substitute(spinel(), "Al", ("Cr", "Fe")), "Mg", ("Zn", "Mn"))
    assert describe(to_structure(atoms)).entropy_per_formula_r == pytest.approx(LN2 + 2 * LN2)


def tilted():
    sites = [(0.036, 0.25, 0.993), (0, 0, 0.5), (0.484, 0.25, 0.071), (0.289, 0.037, 0.711)]
    return build(["Ca", "Ti", "O", "O"], sites, 62, [5.44, 7.64, 5.38], formula="CaTiO3")


def ordered_double_perovskite():
    sites = [(0.25,) * 3, (0, 0, 0), (0.5,) * 3, (0.238, 0, 0)]
    return build(["Ba", "W", "Co", "O"], sites, 225, [8.1] * 3, formula="Ba2WCoO6")


def delafossite():
    sites = [(0, 0, 0), (0, 0, 0.5), (0, 0, 0.11)]
    return build(["Cu", "Al", "O"], sites, 166, [2.86, 2.86, 16.95], HEXAGONAL, formula="CuAlO2")


def fluorite():
    return build(["Ce", "O"], [(0, 0, 0), (0.25,) * 3], 225, [5.41] * 3, formula="CeO2")


def bixbyite():
    sites = [(0.25,) * 3, (0.968, 0, 0.25), (0.391, 0.152, 0.38)]
    return build(["Y", "Y", "O"], sites, 206, [10.6] * 3, formula="Y2O3")


def rutile():
    return build(["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], 136, [4.59, 4.59, 2.96], formula="TiO2")


def alpha_lead_dioxide():
    return build(["Ti", "O"], [(0, 0.17, 0.25), (0.27, 0.39, 0.42)], 60, [4.53, 5.5, 4.9], formula="TiO2")


def corundum():
    sites = [(0, 0, 0.352), (0.306, 0, 0.25)]
    return build(["Al", "O"], sites, 167, [4.76, 4.76, 12.99], HEXAGONAL, formula="Al2O3")


def ilmenite():
    sites = [(0, 0, 0.355), (0, 0, 0.146), (0.317, 0.023, 0.245)]
    return build(["Fe", "Ti", "O"], sites, 148, [5.09, 5.09, 14.08], HEXAGONAL, formula="FeTiO3")


def ruddlesden_popper():
    sites = [(0, 0, 0.354), (0, 0, 0), (0, 0.5, 0), (0, 0, 0.157)]
    return build(["Sr", "Ti", "O", "O"], sites, 139, [3.88, 3.88, 12.6], formula="Sr2TiO4")


def t_prime():
    sites = [(0, 0, 0.352), (0, 0, 0), (0, 0.5, 0), (0, 0.5, 0.25)]
    return build(["Nd", "Cu", "O", "O"], sites, 139, [3.94, 3.94, 12.15], formula="Nd2CuO4")


def wurtzite():
    sites = [(1 / 3, 2 / 3, 0), (1 / 3, 2 / 3, 0.382)]
    return build(["Zn", "O"], sites, 186, [3.25, 3.25, 5.2], HEXAGONAL, formula="ZnO")


def anatase():
    sites = [(0, 0.75, 0.125), (0, 0.75, 0.333)]
    return build(["Ti", "O"], sites, 141, [3.78, 3.78, 9.51], setting=2, formula="TiO2")


@pytest.mark.parametrize("sigma_ang", [0.0, 0.01])
@pytest.mark.parametrize(
    ("build_parent", "prototype", "n_sublattices"),
    [
        (fluorite, "fluorite", 1),
        (perovskite, "perovskite", 2),
        (tilted, "perovskite", 2),
        (ordered_double_perovskite, "double perovskite", 3),
        (bixbyite, "bixbyite", 2),
        (rutile, "rutile", 1),
        (alpha_lead_dioxide, "alpha-PbO2", 1),
        (anatase, "anatase", 1),
        (corundum, "corundum", 1),
        (ilmenite, "ilmenite", 2),
        (ruddlesden_popper, "Ruddlesden-Popper n=1", 2),
        (t_prime, "Nd2CuO4", 2),
        (layered, "layered rock salt", 2),
        (delafossite, "delafossite", 2),
        (wurtzite, "wurtzite", 1),
    ],
)
def test_a_prototype_is_named_whole_or_slightly_displaced(build_parent, prototype, n_sublattices, sigma_ang):
    parent = find_parent_crystal(to_structure(rattle(build_parent(), sigma_ang)))
    assert (parent.prototype, len(parent.sublattices)) == (prototype, n_sublattices)
    assert prototype in PROTOTYPE_NAMES


def test_an_order_that_moved_no_atom_leaves_no_mark_on_the_parent():
    # layers of Li and Co on an undistorted cubic close packing are rock salt once they are alike
    atoms = layered(z=0.25, c_ang=2.816 * 24**0.5)
    structure = to_structure(atoms)
    assert find_parent_crystal(structure).prototype == "rocksalt"
    assert compute_sublattice_entropy_r(structure) == pytest.approx(LN2)


def test_the_result_does_not_depend_on_the_choice_of_cell_origin_or_order_of_atoms():
    atoms = rattle(substitute(perovskite() * (5, 2, 2), "Ti", FIVE_4), 0.05)
    moved = atoms[np.random.default_rng(3).permutation(len(atoms))]
    moved.positions += [0.7, -1.1, 20.0]
    moved.rotate(40, (1, 2, 3), rotate_cell=True)
    sheared = Atoms(moved.symbols, moved.positions, cell=np.array([[1, 1, 0], [0, 1, 0], [0, 2, 1]]) @ moved.cell[:])
    first, second = describe(to_structure(atoms)), describe(to_structure(sheared))
    assert second.prototype == first.prototype == "perovskite"
    assert second.entropy_sublattice_r == pytest.approx(first.entropy_sublattice_r)


def test_without_symmetry_sites_are_told_apart_by_coordination_and_not_each_by_itself():
    atoms = rattle(substitute(perovskite() * (2, 2, 2), "Ti", ("Ti", "Zr")), 0.25, seed=4)
    structure = to_structure(atoms)
    parent = find_parent_crystal(structure)
    assert parent.prototype is None
    assert parent.space_group_number == 1
    assert len(parent.sublattices) < 8
    assert compute_sublattice_entropy_r(structure) > 0.5


def test_effective_coordination_is_six_in_rock_salt_four_in_a_tetrahedron_and_eight_in_a_cube():
    def compute(atoms, element):
        is_oxygen = atoms.symbols == "O"
        cations = atoms.positions[atoms.symbols == element]
        return compute_effective_coordination(np.array(atoms.cell[:]), cations, atoms.positions[is_oxygen])

    assert compute(rocksalt(), "Mg") == pytest.approx(6, abs=0.01)
    assert compute(spinel(), "Mg") == pytest.approx(4, abs=0.01)
    assert compute(fluorite(), "Ce") == pytest.approx(8, abs=0.01)


@pytest.mark.parametrize(
    ("species", "positions"),
    [
        (("O", "O"), [(0, 0, 0), (1.2, 0, 0)]),
        (("Mg", "Ni"), [(0, 0, 0), (2, 2, 2)]),
        (("Mg",), [(0, 0, 0)]),
        (("Mg", "O"), [(0, 0, 0), (0, 0, 0)]),
    ],
)
def test_a_cell_without_cations_without_oxygen_with_one_or_with_coinciding_atoms_is_described(species, positions):
    structure = Structure(4.0 * np.eye(3), np.array(positions, float), species, "test", "test")
    found = describe(structure)
    cations = Counter(name for name in species if name != "O")
    assert found.cation_fractions == {name: count / cations.total() for name, count in cations.items()}
    assert found.entropy_pooled_r == pytest.approx(np.log(len(cations)) if cations else 0.0)
    assert found.entropy_sublattice_r == pytest.approx(found.entropy_pooled_r)


def test_a_long_cell_is_described_in_no_time():
    atoms = Atoms(
        "Mg3O", [(0, 0, 0), (3, 9, 300), (2, 5, 700), (4, 1, 900)], cell=[(2, 6, -2), (17, 0, 1), (1, 9, 1050)]
    )
    start = time.perf_counter()
    describe(to_structure(atoms))
    assert time.perf_counter() - start < 2


@pytest.mark.skipif(not REAL_ROWS.exists(), reason="the real LeMat rows are not shipped; HEO_SHARED names their folder")
def test_real_rows_are_ordered_oxides_and_most_have_a_known_prototype():
    structures = {}
    for file in sorted(REAL_ROWS.glob("*.parquet")):
        columns = ["immutable_id", "lattice_vectors", "cartesian_site_positions", "species_at_sites"]
        for row in pq.read_table(file, columns=columns).to_pylist():
            if str(row["immutable_id"]).startswith("heo-"):
                lattice, positions = (np.array(row[name], float) for name in columns[1:3])
                species = tuple(row["species_at_sites"])
                if positions.shape == (len(species), 3) and abs(np.linalg.det(lattice)) > 1:
                    name = row["immutable_id"]
                    structures.setdefault(name, Structure(lattice, positions, species, name, "heo"))
    found = [describe(structure) for structure in structures.values()]
    assert len(found) == 1292
    assert sum(row.entropy_pooled_r >= 1.5 for row in found) == 35
    # Element count made them "high entropy"; on one sublattice next to none is.
    assert sum(row.entropy_sublattice_r >= 1.5 for row in found) <= 2
    assert all(row.entropy_sublattice_r <= np.log(row.n_cations) + 1e-9 for row in found)
    names = Counter(row.prototype for row in found)
    assert names["double perovskite"] + names["perovskite"] > 600
    assert names.total() - names[None] > 700
