"""Enthalpies, spreads and entropies of mixtures, by numbers that can be worked out by hand."""

import numpy as np
import pytest
from ase.build import bulk

from heo_core.errors import InputError
from heo_core.params import StabilityParams
from heo_core.stability.mixing import MixtureCell, compute_bond_spread, compute_radius_mismatch, summarise_mixture
from heo_core.stability.oxides import Oxide

PAIR = StabilityParams(cations=("Mg", "Ni"), n=2)
OXIDES = {"Mg": Oxide("Mg", "rocksalt", -6.4), "Ni": Oxide("Ni", "rocksalt", -6.0)}


def summarise(*cells, references=OXIDES, competitors=OXIDES):
    return summarise_mixture(("Mg", "Ni"), cells, PAIR, references, competitors)


def test_the_enthalpy_is_what_lies_above_the_shares_of_the_oxides():
    mixture = summarise(MixtureCell(-6.0, 0.01, True), MixtureCell(-6.2, 0.03, True))
    assert mixture.mixing_enthalpy_ev_per_atom == pytest.approx(0.1)  # -6.1 against (-6.4 - 6.0) / 2
    assert mixture.mixing_enthalpy_sem_ev_per_atom == pytest.approx(0.1)  # standard deviation 0.1 √2, over √2
    assert mixture.mixing_enthalpy_ev_per_cation == pytest.approx(0.2)  # every other atom is one
    assert (mixture.bond_spread_ang, mixture.bond_spread_sem_ang) == pytest.approx((0.02, 0.01))
    assert mixture.entropy_r == pytest.approx(np.log(2))
    # 0.1 eV over k_B ln 2 for half of the atoms
    assert mixture.mixing_temperature_k == pytest.approx(0.2 / (8.617333e-5 * np.log(2)))
    assert mixture.failure is None


def test_published_energies_give_the_published_enthalpy():
    from heo_core.stability.oxides import choose_references

    published = choose_references("almishal-2025", ("Mg", "Ni"), [], "rocksalt")
    mixture = summarise(MixtureCell(-6.376991, 0.00958, True), references=published)  # their total energy of MgNi
    assert mixture.mixing_enthalpy_ev_per_atom == pytest.approx(0.0344, abs=1e-4)
    assert mixture.references == {"Mg": "almishal-2025", "Ni": "almishal-2025"}


def test_decomposition_counts_from_the_lowest_oxides_that_the_model_knows():
    lower = {"Mg": Oxide("Mg", "rocksalt", -6.4), "Ni": Oxide("Ni", "wurtzite", -6.2)}
    mixture = summarise(MixtureCell(-6.1, 0.01, True), competitors=lower)
    assert mixture.decomposition_energy_ev_per_atom == pytest.approx(0.2)
    assert mixture.decomposition == "0.5 Mg rocksalt + 0.5 Ni wurtzite"


def test_cells_that_did_not_converge_count_in_no_mean_and_say_why():
    lost = [MixtureCell(-9.0, 0.9, False, "not converged in 5 force calls"), MixtureCell(None, None, False, "exploded")]
    mixture = summarise(MixtureCell(-6.1, 0.01, True), *lost)
    assert (mixture.n_cells, mixture.n_converged) == (3, 1)
    assert mixture.mixing_enthalpy_ev_per_atom == pytest.approx(0.1)
    assert mixture.mixing_enthalpy_sem_ev_per_atom is None
    assert mixture.failure == "not converged in 5 force calls; exploded"


def test_an_oxide_without_energy_leaves_no_enthalpy_and_not_zero():
    broken = {**OXIDES, "Ni": Oxide("Ni", "rocksalt", None, "collapsed")}
    mixture = summarise(MixtureCell(-6.1, 0.01, True), references=broken)
    assert mixture.mixing_enthalpy_ev_per_atom is None
    assert mixture.mixing_temperature_k is None
    assert mixture.failure == "the oxide of Ni has no energy: collapsed"
    assert mixture.decomposition_energy_ev_per_atom == pytest.approx(0.1)
    nothing = summarise()
    assert (nothing.mixing_enthalpy_ev_per_atom, nothing.bond_spread_ang, nothing.n_cells) == (None, None, 0)


def test_bonds_of_a_stretched_rock_salt_spread_as_by_hand_wherever_the_cell_begins():
    atoms = bulk("MgO", "rocksalt", a=4.2, cubic=True)
    atoms.set_cell([4.2, 4.2, 4.6], scale_atoms=True)
    lattice, species = np.array(atoms.cell), atoms.get_chemical_symbols()
    # Four bonds of 2.1 Å and two of 2.3 Å: mean 2.1667
    by_hand = np.std([2.1] * 4 + [2.3] * 2)
    for shift in (0.0, 1.7):
        spread = compute_bond_spread(lattice, atoms.positions + shift, species, ["Mg"], 6, "O")
        assert spread == pytest.approx(by_hand, abs=1e-9)
    assert compute_bond_spread(lattice, atoms.positions, species, ["Mg"], 4, "O") == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(InputError, match="fewer than 6 O within"):
        compute_bond_spread(np.eye(3) * 50, np.array([[0.0, 0, 0], [2, 0, 0]]), ["Mg", "O"], ["Mg"], 6, "O")


def test_the_mismatch_of_radii_is_shannons():
    assert compute_radius_mismatch(("Mg", "Ni"), PAIR) == pytest.approx(100 * 0.015 / 0.705)  # 0.72 and 0.69 Å
    assert compute_radius_mismatch(("Mg",), StabilityParams(cations=("Mg",), n=1)) == 0


def test_an_oxide_whose_charges_do_not_balance_is_nothing_to_count_from():
    params = StabilityParams(cations=("Mg", "Al"), n=2)
    oxides = {"Mg": Oxide("Mg", "rocksalt", -6.4), "Al": Oxide("Al", "rocksalt", -6.0)}
    mixture = summarise_mixture(("Mg", "Al"), [MixtureCell(-6.0, 0.01, True)], params, oxides, oxides)
    # Al is +3: half a charge too many for each formula of MgAl, a whole one for AlO
    assert mixture.failure == "charges do not balance as rocksalt, e a formula: MgAl +0.5, Al +1"
    assert (mixture.mixing_enthalpy_ev_per_atom, mixture.decomposition_energy_ev_per_atom) == (None, None)
    assert mixture.bond_spread_ang == 0.01


def test_an_oxide_that_was_not_compared_with_all_its_crystals_says_so():
    doubtful = {**OXIDES, "Ni": Oxide("Ni", "rocksalt", -6.0, "not tenorite: collapsed")}
    mixture = summarise(MixtureCell(-6.1, 0.01, True), references=doubtful)
    assert mixture.mixing_enthalpy_ev_per_atom == pytest.approx(0.1)
    assert mixture.failure == "oxide of Ni: not tenorite: collapsed"
