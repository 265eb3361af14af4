"""Sites are filled as asked: exactly in random order, or each by itself."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heo_core.errors import InputError
from heo_core.structures.prototypes import get_prototype
from heo_core.structures.substitution import (
    count_sites,
    fill_sites_exact,
    fill_sites_iid,
    substitute,
)

ROCKSALT = get_prototype("rocksalt")


def test_site_counts_by_largest_remainder_by_hand():
    # 3.5, 1.4, 2.1: three whole, one left for the largest remainder
    assert count_sites({"A": 0.5, "B": 0.2, "C": 0.3}, 7) == {"A": 4, "B": 1, "C": 2}
    assert count_sites({"A": 0.1, "B": 0.9}, 30) == {"A": 3, "B": 27}
    assert count_sites(dict.fromkeys("ABCDE", 0.2), 32) == {"A": 7, "B": 7, "C": 6, "D": 6, "E": 6}


@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(200, 1000))
def test_site_counts_sum_right_and_are_within_one_of_the_fraction(amounts, n_sites):
    fractions = {f"E{i}": amount / sum(amounts) for i, amount in enumerate(amounts)}
    counts = count_sites(fractions, n_sites)
    assert sum(counts.values()) == n_sites
    assert all(abs(counts[element] - fractions[element] * n_sites) < 1 for element in counts)


def test_an_element_is_never_dropped_in_silence():
    with pytest.raises(InputError, match="4 cation sites are too few to hold Zn"):
        count_sites({"Mg": 0.99, "Zn": 0.01}, 4)


def test_filling_keeps_the_counts_and_follows_the_generator():
    fractions = {"Mg": 0.5, "Ni": 0.5}
    first, again, other = (fill_sites_exact(fractions, 40, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert Counter(first) == Counter(other) == {"Mg": 20, "Ni": 20}


def test_every_site_holds_each_element_as_often_as_its_fraction_says():
    rng = np.random.default_rng(0)
    filled = np.array([fill_sites_exact({"Mg": 0.25, "Ni": 0.75}, 8, rng) for _ in range(4000)])
    assert (filled == "Mg").mean(axis=0) == pytest.approx(np.full(8, 0.25), abs=0.03)


def test_a_substituted_cell_is_rock_salt_with_metals_on_metal_sites():
    structure = substitute(ROCKSALT, "Mg0.5Ni0.5O", (2, 1, 1), np.random.default_rng(0))
    a = structure.lattice[1, 1]
    assert structure.lattice == pytest.approx(np.diag([2 * a, a, a]))
    assert Counter(structure.species) == {"Mg": 4, "Ni": 4, "O": 8}
    parity = np.round(structure.positions / (a / 2)).astype(int).sum(axis=1) % 2
    assert [int(p) for p in parity] == [0 if element != "O" else 1 for element in structure.species]
    assert len({tuple(row) for row in np.round(structure.positions, 6)}) == 16
    assert structure.source == "generated"


def test_sites_filled_by_themselves_scatter_as_a_binomial_and_not_in_the_mean():
    rng = np.random.default_rng(0)
    counts = [Counter(fill_sites_iid({"Mg": 0.25, "Ni": 0.75}, 64, rng))["Mg"] for _ in range(2000)]
    assert np.mean(counts) == pytest.approx(16, abs=0.3)
    assert np.std(counts) == pytest.approx((64 * 0.25 * 0.75) ** 0.5, rel=0.06)


@pytest.mark.parametrize("filling", ["exact", "iid"])
def test_every_sublattice_holds_its_own_cations_only(filling):
    text = "(La0.5Sr0.5)(Mn0.5Co0.5)O3"
    structure = substitute(get_prototype("perovskite"), text, (2, 2, 2), np.random.default_rng(0), filling)
    fractional = structure.positions @ np.linalg.inv(structure.lattice) * 2 % 1
    corner = np.isclose(np.round(fractional, 6) % 1, 0).all(axis=1)
    species = np.array(structure.species)
    assert (set(species[corner]), corner.sum()) == ({"La", "Sr"}, 8)
    assert set(species[~corner]) == {"Mn", "Co", "O"}
