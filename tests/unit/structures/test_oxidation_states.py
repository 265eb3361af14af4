"""Charges balance the oxygen where they can, and what is left is told."""

import pytest

from heo_core.errors import InputError
from heo_core.structures.oxidation_states import balance_charges

FIVE = ("Mg", "Ni", "Cu", "Co", "Zn")


@pytest.mark.parametrize(
    ("amounts", "n_oxygen", "states"),
    [
        ({"cation": dict.fromkeys(FIVE, 0.2)}, 1, {"cation": dict.fromkeys(FIVE, 2)}),
        ({"A": {"Sr": 1}, "B": {"Ti": 1}}, 3, {"A": {"Sr": 2}, "B": {"Ti": 4}}),
        ({"A": {"La": 1}, "B": {"Mn": 1}}, 3, {"A": {"La": 3}, "B": {"Mn": 3}}),
        ({"A": {"Pb": 1}, "B": {"Ti": 1}}, 3, {"A": {"Pb": 2}, "B": {"Ti": 4}}),
        ({"A": {"Bi": 1}, "B": {"Fe": 1}}, 3, {"A": {"Bi": 3}, "B": {"Fe": 3}}),
        ({"cation": {"Pb": 1}}, 2, {"cation": {"Pb": 4}}),
        # La2CoMnO6 and FeTiO3 are Co2+ with Mn4+, Fe2+ with Ti4+
        ({"A": {"La": 1}, "B": {"Co": 0.5, "Mn": 0.5}}, 3, {"A": {"La": 3}, "B": {"Co": 2, "Mn": 4}}),
        ({"cation": {"Fe": 1, "Ti": 1}}, 3, {"cation": {"Fe": 2, "Ti": 4}}),
        # a third of the iron of magnetite stays 2+
        ({"cation": {"Fe": 3}}, 4, {"cation": {"Fe": pytest.approx(8 / 3, abs=1e-6)}}),
    ],
)
def test_known_oxides_are_neutral_with_the_chemists_charges(amounts, n_oxygen, states):
    balance = balance_charges(amounts, n_oxygen)
    assert balance.residual == 0
    assert balance.states == states


def test_what_cannot_be_balanced_is_left_with_its_sign():
    assert balance_charges({"cation": {"Mg": 1}}, 2).residual == -2
    assert balance_charges({"cation": {"Zr": 1}}, 1.5).residual == 1
    # five 2+ and one 3+ that cannot be reduced
    assert balance_charges({"cation": {"Mg": 5, "Al": 1}}, 6).residual == pytest.approx(1)


def test_a_missing_oxygen_reduces_what_is_reduced_most_easily():
    balance = balance_charges({"A": {"Sr": 1}, "B": {"Fe": 0.5, "Ti": 0.5}}, 2.75)
    assert balance.residual == 0
    assert balance.states["B"] == {"Fe": 3.0, "Ti": 4.0}


@pytest.mark.parametrize("element", ["He", "Xx", "O"])
def test_an_element_without_charges_is_named(element):
    with pytest.raises(InputError, match=f"{element} has no oxidation state in oxides; allowed: Ac, "):
        balance_charges({"cation": {element: 1}}, 1)
