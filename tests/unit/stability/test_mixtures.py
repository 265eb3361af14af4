"""Mixtures are in exactly equal shares, in compact cells, each in an order that follows from seed and number alone."""

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from heo_core.curation.distances import compute_smallest_distance
from heo_core.params import StabilityParams
from heo_core.stability.mixtures import count_formulas, list_mixtures, make_cell, make_compact_parent, make_occupation
from heo_core.structures.prototypes import get_prototype

FLUORITE = ("Ti", "Zr", "Ce", "Hf", "Sn")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"Mg": 6, "Co": 6, "Ni": 6, "Cu": 6, "Zn": 6, "O": 30}),
        ({"n": 2, "cations": ("Ni", "Mg")}, {"Mg": 16, "Ni": 16, "O": 32}),
        ({"prototype": "fluorite", "cations": FLUORITE}, {**dict.fromkeys(FLUORITE, 4), "O": 40}),
        (
            {"prototype": "perovskite", "rest": {"A": "Ba"}, "cations": ("Ti", "Zr"), "n": 2},
            {"Ba": 12, "Ti": 6, "Zr": 6},
        ),
        ({"n_atoms": 4}, {"Mg": 1, "Co": 1, "Ni": 1, "Cu": 1, "Zn": 1, "O": 5}),
    ],
)
def test_a_cell_holds_equal_shares_in_as_many_atoms_as_are_allowed(given, expected):
    params = StabilityParams(**given)
    cell = make_cell(list_mixtures(params)[0], 1, params)
    assert Counter(cell.species).items() >= expected.items()


def test_all_combinations_are_taken_whatever_the_order_of_the_cations():
    given = StabilityParams(cations=("Zn", "Mg", "Cu", "Ni"), n=3)
    assert given == StabilityParams(cations=("Ni", "Cu", "Mg", "Zn"), n=3)
    assert list_mixtures(given) == [("Mg", "Ni", "Cu"), ("Mg", "Ni", "Zn"), ("Mg", "Cu", "Zn"), ("Ni", "Cu", "Zn")]


def test_a_cell_follows_from_seed_cations_and_number_alone():
    few = StabilityParams(n=2, n_cells=1, n_atoms=16)
    many = StabilityParams(n=2, n_cells=9, n_atoms=16, references="end-members")
    hashes = [
        make_cell(pair, number, params).content_hash
        for pair in (("Mg", "Ni"), ("Mg", "Cu"))
        for number in (1, 2)
        for params in (few, many)
    ]
    assert hashes[::2] == hashes[1::2]
    assert len(set(hashes)) == 4
    assert few.protocol == many.protocol
    assert few.protocol != StabilityParams(n=2, n_atoms=16, seed=1).protocol


@pytest.mark.parametrize(
    ("name", "n_formulas"), [("rocksalt", 30), ("rocksalt", 25), ("fluorite", 20), ("perovskite", 10)]
)
def test_images_are_further_apart_than_in_a_cube_of_the_same_volume(name, n_formulas):
    prototype = get_prototype(name)
    rest = {"A": "Ba"} if name == "perovskite" else {}
    occupation = make_occupation(("Zr",), StabilityParams(prototype=name, rest=rest))
    parent = make_compact_parent(prototype, occupation, n_formulas)
    assert parent.n_atoms == n_formulas * (prototype.n_atoms // prototype.n_formulas)
    shortest = compute_smallest_distance(parent.lattice, np.zeros((1, 3)))
    assert shortest > 0.99 * parent.volume_ang3 ** (1 / 3)
    # The crystal is the same: as many atoms in its volume, and as near, as in the conventional cell.
    conventional = prototype.compute_lattice(occupation)
    assert parent.volume_ang3 / parent.n_atoms == pytest.approx(abs(np.linalg.det(conventional)) / prototype.n_atoms)
    everything = np.concatenate([*(part.sites for part in prototype.sublattices), prototype.anion_sites])
    nearest = compute_smallest_distance(conventional, everything @ conventional)
    assert compute_smallest_distance(parent.lattice, parent.positions) == pytest.approx(nearest)


def test_shares_are_whole_in_the_largest_number_of_formulas_that_fits():
    rocksalt = get_prototype("rocksalt")
    counts = [
        count_formulas(n, rocksalt, "cation", n_atoms) for n, n_atoms in ((5, 64), (5, 60), (5, 59), (3, 64), (7, 1))
    ]
    assert counts == [30, 30, 25, 30, 7]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"cations": ("Mg", "Mg"), "n": 2}, "name one twice"),
        ({"cations": ("Mg", "O"), "n": 2}, "O cannot be a cation here"),
        ({"cations": ("Mg", "Ni"), "n": 3}, "n is 3, but 2 cations are given"),
        ({"prototype": "perovskite"}, "rest names nothing; for perovskite it takes one of A and B"),
        ({"rest": {"A": "Ba"}}, "rest names A; for rocksalt it takes nothing"),
        ({"references": "almishal-2025", "model": "heo-mini"}, "on the scale of chgnet:0.3.0"),
    ],
)
def test_what_cannot_be_mixed_is_refused_with_what_is_allowed(given, reason):
    with pytest.raises(ValidationError, match=reason):
        StabilityParams(**given)
