"""Compositions are read whole and filled exactly."""

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
    get_cation_fractions,
    parse_composition,
    substitute,
)

ROCKSALT = get_prototype("rocksalt")


def test_an_element_without_a_number_counts_one():
    assert parse_composition("MgNi2O3") == {"Mg": 1.0, "Ni": 2.0, "O": 3.0}
    assert parse_composition("(MgNi)0.5O") == {"Mg": 0.5, "Ni": 0.5, "O": 1.0}


@pytest.mark.parametrize("text", ["", "mgo", "Xx2O", "Mg-1O", "Mg2+O", "MgO junk", "5", "MgO|"])
def test_what_is_no_formula_is_an_error_that_shows_it_and_an_example(text):
    with pytest.raises(InputError, match=r"allowed: a formula such as") as caught:
        parse_composition(text)
    assert repr(text) in str(caught.value)


def test_cation_fractions_sum_to_one_whatever_the_size_of_the_formula():
    expected = {element: pytest.approx(0.2) for element in ("Co", "Cu", "Mg", "Ni", "Zn")}
    assert get_cation_fractions("Mg0.2Ni0.2Cu0.2Co0.2Zn0.2O", ROCKSALT) == expected
    assert get_cation_fractions("ZnMgNiCuCoO5", ROCKSALT) == expected
    assert sum(get_cation_fractions("Mg0.3333Ni0.3333Co0.3333O", ROCKSALT).values()) == pytest.approx(1)


@pytest.mark.parametrize("text", ["MgO2", "Mg0.9O", "MgNi", "O", "Mg0.2Ni0.2Cu0.2Co0.2Zn0.2"])
def test_cations_that_do_not_fill_their_sites_are_an_error(text):
    with pytest.raises(InputError, match="rocksalt needs 1 cations for each O"):
        get_cation_fractions(text, ROCKSALT)


@pytest.mark.parametrize(("text", "odd"), [("Mg0.5F0.5O", "F"), ("He0.5Mg0.5O", "He")])
def test_what_is_no_metal_is_no_cation(text, odd):
    with pytest.raises(InputError, match=f"has {odd} on cation sites of rocksalt; allowed: metals and metalloids"):
        get_cation_fractions(text, ROCKSALT)


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
