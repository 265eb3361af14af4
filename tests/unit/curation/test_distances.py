"""The smallest distance is that of all periodic images, however the cell leans and however many atoms it has."""

from itertools import product

import numpy as np
import pytest

from heo_core.curation.distances import compute_smallest_distance


def find_among_images(lattice, positions, reach):
    shifts = np.array(list(product(range(-reach, reach + 1), repeat=3))) @ lattice
    separations = positions[:, None, None] - positions[None, :, None] + shifts
    distances = np.linalg.norm(separations, axis=-1)
    return distances[distances > 1e-9].min()


@pytest.mark.parametrize("n_atoms", [1, 2, 6])
def test_smallest_distance_is_that_of_all_images_in_skewed_cells(n_atoms):
    rng = np.random.default_rng(n_atoms)
    for _ in range(40):
        lattice = np.diag(rng.uniform(2, 6, 3)) + np.triu(rng.uniform(-4, 4, (3, 3)), k=1)
        positions = rng.uniform(size=(n_atoms, 3)) @ lattice
        expected = find_among_images(lattice, positions, 6)
        assert compute_smallest_distance(lattice, positions) == pytest.approx(expected)


def test_smallest_distance_of_many_atoms_is_found_wherever_it_is():
    grid = np.array(list(product(range(11), repeat=3)), dtype=float) * 4.0
    assert compute_smallest_distance(np.eye(3) * 44.0, grid) == pytest.approx(4.0)
    grid[700] += [0.0, 1.0, 0.0]
    assert compute_smallest_distance(np.eye(3) * 44.0, grid) == pytest.approx(3.0)
