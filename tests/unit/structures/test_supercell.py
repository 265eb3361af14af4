"""Supercells are the same crystal, large enough and near-cubic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heo_core.curation.distances import compute_smallest_distance
from heo_core.errors import InputError
from heo_core.records import Structure
from heo_core.structures.supercell import find_near_cubic_repeats, repeat, transform


# NumPy 2.5 says so of ASE's own arrays
@pytest.mark.filterwarnings("ignore:Setting the shape on a NumPy array:DeprecationWarning")
def test_a_supercell_is_what_ase_makes():
    from ase import Atoms

    rng = np.random.default_rng(0)
    lattice, positions = np.eye(3) * 4 + rng.normal(scale=0.3, size=(3, 3)), rng.uniform(0, 4, size=(3, 3))
    structure = Structure(lattice, positions, ("Mg", "Ni", "O"), "id", "mp", energy_ev=-1.0)
    expected = Atoms(["Mg", "Ni", "O"], positions=positions, cell=lattice, pbc=True).repeat((2, 1, 3))
    found = repeat(structure, (2, 1, 3))
    assert found.lattice == pytest.approx(expected.cell.array)
    assert found.positions == pytest.approx(expected.positions)
    assert list(found.species) == expected.get_chemical_symbols()
    assert found.energy_ev is None


@pytest.mark.parametrize(
    ("edges", "n_atoms", "min_atoms", "expected"),
    [
        ((4, 4, 4), 8, 8, (1, 1, 1)),
        ((4, 4, 4), 8, 9, (2, 1, 1)),
        ((4, 4, 4), 8, 64, (2, 2, 2)),
        ((3, 6, 12), 4, 32, (4, 2, 1)),
        ((9, 9, 3), 10, 16, (1, 1, 2)),
    ],
)
def test_the_thinnest_direction_is_repeated_first(edges, n_atoms, min_atoms, expected):
    assert find_near_cubic_repeats(np.diag(np.array(edges, dtype=float)), n_atoms, min_atoms) == expected


def test_thinness_is_the_distance_of_faces_and_not_the_length_of_edges():
    # the second edge is long but leans over: the faces it spans are 2 Å apart
    lattice = np.array([[5.0, 0.0, 0.0], [20.0, 2.0, 0.0], [0.0, 0.0, 5.0]])
    assert find_near_cubic_repeats(lattice, 4, 8) in {(2, 1, 1), (1, 2, 1)}
    heights = [np.linalg.det(lattice) / np.linalg.norm(np.cross(lattice[i - 2], lattice[i - 1])) for i in range(3)]
    assert find_near_cubic_repeats(lattice, 4, 8)[int(np.argmin(heights))] == 2


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 200))
def test_there_are_enough_atoms_and_fewer_than_twice_as_many(seed, n_atoms, min_atoms):
    lattice = np.diag(np.random.default_rng(seed).uniform(2, 12, size=3))
    found = n_atoms * int(np.prod(find_near_cubic_repeats(lattice, n_atoms, min_atoms)))
    assert found >= min_atoms
    assert found < max(2 * min_atoms, n_atoms + 1)


@pytest.mark.parametrize(
    "matrix", [((0, 1, 1), (1, 0, 1), (1, 1, 0)), ((2, -1, 0), (0, 3, 1), (0, 0, 1)), ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
)
def test_a_cell_transformed_by_a_matrix_is_the_same_crystal(matrix):
    structure = Structure(np.eye(3) * 4.0, np.array([[0.0, 0, 0], [2.0, 2, 2]]), ("Mg", "O"), "id", "mp")
    made = transform(structure, matrix)
    n_cells = round(np.linalg.det(matrix))
    assert made.lattice == pytest.approx(np.array(matrix) * 4.0)
    assert made.species == ("Mg",) * n_cells + ("O",) * n_cells
    # every atom on a lattice site of its kind, no two on the same
    assert np.round(made.positions[:n_cells] / 4.0, 9) % 1 == pytest.approx(0)
    assert np.round((made.positions[n_cells:] - 2) / 4.0, 9) % 1 == pytest.approx(0)
    assert compute_smallest_distance(made.lattice, made.positions) == pytest.approx(12**0.5)


def test_a_matrix_without_a_volume_is_an_error():
    structure = Structure(np.eye(3), np.zeros((1, 3)), ("Mg",), "id", "mp")
    with pytest.raises(InputError, match="determinant 0; allowed: above 0"):
        transform(structure, ((1, 0, 0), (1, 0, 0), (0, 0, 1)))
