"""Composition descriptors agree with sums done by hand, one row or many."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from ase.data import chemical_symbols

from heo_core.curation.composition import (
    compute_cation_entropy_r,
    compute_electronegativity_spread,
    compute_equimolarity_deviation,
    compute_radius_mismatch_percent,
    reduce_formula,
)
from heo_core.elements import ELEMENT_GROUPS
from heo_core.records import Structure

FIVE = dict.fromkeys(("Mg", "Co", "Ni", "Cu", "Zn"), 0.2)


@pytest.mark.parametrize(
    ("counts", "entropy", "deviation"),
    [
        ([1, 1, 1, 1, 1], 1.6094379, 0.0),
        ([3, 1], 0.5623351, 0.25),
        ([2, 1, 1], 1.0397208, 1 / 6),
        ([7], 0.0, 0.0),
        ([0, 0], 0.0, 0.0),
    ],
)
def test_entropy_and_equimolarity_are_those_computed_by_hand(counts, entropy, deviation):
    assert compute_cation_entropy_r(counts) == pytest.approx(entropy, abs=1e-7)
    assert compute_equimolarity_deviation(counts) == pytest.approx(deviation)


def test_rows_are_independent_and_absent_kinds_and_the_scale_change_nothing():
    counts = np.array([[[4, 4, 0, 0], [1, 1, 1, 1]], [[0, 2, 1, 1], [0, 0, 0, 0]]])
    entropies, deviations = compute_cation_entropy_r(counts), compute_equimolarity_deviation(counts)
    assert entropies.shape == deviations.shape == (2, 2)
    assert entropies == pytest.approx(np.array([[np.log(2), np.log(4)], [1.5 * np.log(2), 0.0]]))
    assert deviations == pytest.approx(np.array([[0.0, 0.0], [1 / 6, 0.0]]))
    assert compute_cation_entropy_r(3 * counts) == pytest.approx(entropies)


def test_no_rows_give_no_values():
    assert compute_cation_entropy_r(np.zeros((0, 5))).shape == (0,)
    assert compute_equimolarity_deviation(np.zeros((0, 5))).shape == (0,)


def test_radius_mismatch_of_the_rock_salt_entropy_oxide_is_that_of_its_divalent_radii():
    # 0.72, 0.745, 0.69, 0.73, 0.74 Å: mean 0.725, mean square deviation 0.00038 Å²
    assert compute_radius_mismatch_percent(FIVE) == pytest.approx(100 * 0.00038**0.5 / 0.725)


def test_radius_mismatch_weighs_with_the_shares_and_takes_common_charges():
    # Ti4+ 0.605 and Zr4+ 0.72 Å as 3:1: mean 0.63375, variance 0.1875 * 0.115²
    expected = 100 * 0.1875**0.5 * 0.115 / 0.63375
    assert compute_radius_mismatch_percent({"Ti": 3, "Zr": 1, "Mg": 0}) == pytest.approx(expected)


def test_electronegativity_spread_is_that_of_paulings_values():
    # Mg 1.31 and Ni 1.91
    assert compute_electronegativity_spread({"Mg": 0.5, "Ni": 0.5}) == pytest.approx(0.3)


def test_a_single_cation_has_no_spread():
    assert compute_radius_mismatch_percent({"Mg": 1.0}) == compute_electronegativity_spread({"Mg": 1.0}) == 0.0


@pytest.mark.parametrize("fractions", [{}, {"Mg": 0.5, "He": 0.5}, {"Mg": 0.5, "Xx": 0.5}])
def test_what_has_no_radius_or_electronegativity_gives_none_not_zero(fractions):
    assert compute_radius_mismatch_percent(fractions) is None
    assert compute_electronegativity_spread(fractions) is None


def test_groups_hold_elements_only_and_every_actinide_is_radioactive():
    assert set(ELEMENT_GROUPS) == {"noble_metals", "actinides", "radioactive", "toxic"}
    assert frozenset().union(*ELEMENT_GROUPS.values()) <= set(chemical_symbols[1:])
    assert len(ELEMENT_GROUPS["actinides"]) == 15
    assert ELEMENT_GROUPS["actinides"] < ELEMENT_GROUPS["radioactive"]
    # Tc, Pm and everything from Po on
    assert ELEMENT_GROUPS["radioactive"] == {"Tc", "Pm", *chemical_symbols[84:119]}


def test_the_module_itself_imports_no_element_data():
    code = (
        "import sys, types; sys.modules['heo_core.curation'] = p = types.ModuleType('heo_core.curation');"
        "import heo_core; p.__path__ = [heo_core.__path__[0] + '/curation'];"
        "import heo_core.curation.composition; print([m for m in ('ase', 'pymatgen') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("formula", ["NaO", "Na2O2", "Na0.5O0.5"])
def test_a_formula_is_reduced_as_that_of_a_structure_even_where_chemists_write_it_in_pairs(formula):
    structure = Structure(5 * np.eye(3), np.zeros((4, 3)), ("Na", "Na", "O", "O"), "a", "own")
    assert reduce_formula(formula) == structure.formula_reduced == "NaO"
