"""Compositions are read whole, and every cation gets to the sublattice that it was written for."""

import pytest

from heo_core.errors import InputError
from heo_core.structures.occupation import assign_composition, format_formula, parse_composition
from heo_core.structures.prototypes import get_prototype

ROCKSALT, PEROVSKITE, SPINEL = map(get_prototype, ("rocksalt", "perovskite", "spinel"))


def test_an_element_without_a_number_counts_one():
    assert parse_composition("MgNi2O3") == {"Mg": 1.0, "Ni": 2.0, "O": 3.0}
    assert parse_composition("(MgNi)0.5O") == {"Mg": 0.5, "Ni": 0.5, "O": 1.0}


@pytest.mark.parametrize("text", ["", "mgo", "Xx2O", "Mg-1O", "Mg2+O", "MgO junk", "5", "MgO|"])
def test_what_is_no_formula_is_an_error_that_shows_it_and_an_example(text):
    with pytest.raises(InputError, match=r"allowed: a formula such as") as caught:
        parse_composition(text)
    assert repr(text) in str(caught.value)


def test_cation_fractions_sum_to_one_whatever_the_size_of_the_formula():
    expected = {"cation": {element: pytest.approx(0.2) for element in ("Co", "Cu", "Mg", "Ni", "Zn")}}
    assert assign_composition("Mg0.2Ni0.2Cu0.2Co0.2Zn0.2O", ROCKSALT) == expected
    assert assign_composition("ZnMgNiCuCoO5", ROCKSALT) == expected
    rounded = assign_composition("Mg0.3333Ni0.3333Co0.3333O", ROCKSALT)
    assert sum(rounded["cation"].values()) == pytest.approx(1)


@pytest.mark.parametrize("text", ["MgO2", "Mg0.9O", "MgNi", "O", "Mg0.2Ni0.2Cu0.2Co0.2Zn0.2"])
def test_cations_that_do_not_fill_their_sites_are_an_error(text):
    with pytest.raises(InputError, match="rocksalt needs 1 cations for each O"):
        assign_composition(text, ROCKSALT)


@pytest.mark.parametrize(("text", "odd"), [("Mg0.5F0.5O", "F"), ("He0.5Mg0.5O", "He")])
def test_what_is_no_metal_is_no_cation(text, odd):
    with pytest.raises(InputError, match=f"{odd} on cation sites of rocksalt; allowed: metals and metalloids"):
        assign_composition(text, ROCKSALT)


@pytest.mark.parametrize(
    ("text", "a", "b"),
    [
        ("SrTiO3", "Sr", "Ti"),
        ("Sr2Ti2O6", "Sr", "Ti"),
        ("(La0.2Pr0.2Nd0.2Sm0.2Gd0.2)(Mn0.5Co0.5)O3", "La Pr Nd Sm Gd", "Mn Co"),
        ("La(CrMnFeCoNi)0.2O3", "La", "Cr Mn Fe Co Ni"),
        ("[La0.5Sr0.5][(MnFe)0.25Co0.5]O3", "La Sr", "Mn Fe Co"),
    ],
)
def test_sublattices_of_equal_size_are_filled_in_the_order_written(text, a, b):
    occupation = assign_composition(text, PEROVSKITE)
    assert {name: set(cations) for name, cations in occupation.items()} == {"A": set(a.split()), "B": set(b.split())}
    assert all(sum(cations.values()) == pytest.approx(1) for cations in occupation.values())


@pytest.mark.parametrize(
    ("text", "a", "b"),
    [
        ("MgAl2O4", "Mg", "Al"),
        ("Al2MgO4", "Mg", "Al"),
        ("Cr(MnFe)O4", "Cr", "Mn Fe"),
        ("Cr0.2Mn0.2Fe0.2Co0.2Ni0.2Al2O4", "Cr Mn Fe Co Ni", "Al"),
        ("Fe(Fe0.5Ni0.5)2O4", "Fe", "Fe Ni"),
        ("Co3O4", "Co", "Co"),
    ],
)
def test_amounts_that_fit_in_one_way_only_decide(text, a, b):
    occupation = assign_composition(text, SPINEL)
    assert {name: set(cations) for name, cations in occupation.items()} == {"A": set(a.split()), "B": set(b.split())}


@pytest.mark.parametrize(
    ("text", "prototype"),
    [("CrMnFeO4", SPINEL), ("(CrMnFeCoNi)0.6O4", SPINEL), ("Sr0.5Ba0.5Ti0.5Zr0.5O3", PEROVSKITE)],
)
def test_a_formula_that_does_not_say_which_cation_goes_where_is_told_how_to(text, prototype):
    with pytest.raises(InputError, match="does not say which cations are on A and B") as caught:
        assign_composition(text, prototype)
    assert 'in parentheses, A first, then B, or give {"A": ' in str(caught.value)


def test_fractions_sublattice_by_sublattice_are_taken_as_they_are():
    given = {"B": {"Co": 0.25, "Mn": 0.75}, "A": "LaSr"}
    assert assign_composition(given, PEROVSKITE) == {"A": {"La": 0.5, "Sr": 0.5}, "B": {"Co": 0.25, "Mn": 0.75}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"A": "La"}, r"fills A; perovskite \(ABO3\) has A and B"),
        ({"A": "La", "B": "Mn", "C": "Co"}, r"fills A and B and C; perovskite \(ABO3\) has A and B"),
        ({"A": "La", "B": {"Mn": 0.5, "Co": 0.4}}, r"fractions on B of perovskite sum to 0\.9; they must sum to 1"),
    ],
)
def test_sublattices_that_are_left_out_or_not_full_are_an_error(given, message):
    with pytest.raises(InputError, match=message):
        assign_composition(given, PEROVSKITE)


@pytest.mark.parametrize("text", ["(La0.5Sr0.5)(Mn0.25Co0.75)O3", "(Mg0.5Zn0.5)(Al)2O4"])
def test_the_formula_of_an_occupation_means_the_same(text):
    prototype = SPINEL if text.endswith("O4") else PEROVSKITE
    occupation = assign_composition(text, prototype)
    assert assign_composition(format_formula(occupation, prototype), prototype) == occupation
