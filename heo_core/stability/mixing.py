"""Numbers of a mixture: enthalpy of mixing, spread of bonds, mismatch of radii, entropy, and how far cells differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matscipy.neighbours import neighbour_list  # type: ignore[import-untyped]

from heo_core.errors import InputError
from heo_core.params import StabilityParams
from heo_core.records import Array, Relaxation, Structure
from heo_core.stability.mixtures import get_mixed_sublattice, make_occupation, name_mixture
from heo_core.stability.oxides import Oxide, compute_mixture_energy
from heo_core.structures.ionic_radii import find_site_radius
from heo_core.structures.oxidation_states import balance_charges
from heo_core.structures.prototypes import get_prototype

BOLTZMANN_EV_PER_K = 8.617333262e-5
_FIRST_REACH_ANG = 3.0
_LONGEST_REACH_ANG = 12.0


@dataclass(frozen=True)
class MixtureCell:
    """What is known of one relaxed cell of a mixture; without numbers where failure says why."""

    energy_ev_per_atom: float | None
    bond_spread_ang: float | None
    converged: bool
    failure: str | None = None


@dataclass(frozen=True)
class Mixture:
    """One mixture against one set of oxides; means over its converged cells, None where there is no number.

    ..._sem: standard error of the mean, None for fewer than two cells. mixing_enthalpy_ev_per_cation: per site of the
    mixed sublattice. entropy_r: of mixing per such site, in R. mixing_temperature_k: at which entropy and enthalpy
    balance, against these oxides only. decomposition_energy_ev_per_atom: above the lowest oxides that the model itself
    relaxed, which `decomposition` names. failure says why a number is missing, or why cells are.
    """

    composition: str
    cations: tuple[str, ...]
    n_cells: int
    n_converged: int
    entropy_r: float
    radius_mismatch_percent: float | None = None
    mixing_enthalpy_ev_per_atom: float | None = None
    mixing_enthalpy_sem_ev_per_atom: float | None = None
    mixing_enthalpy_ev_per_cation: float | None = None
    bond_spread_ang: float | None = None
    bond_spread_sem_ang: float | None = None
    mixing_temperature_k: float | None = None
    decomposition_energy_ev_per_atom: float | None = None
    decomposition: str | None = None
    references: dict[str, str] = field(default_factory=dict)
    failure: str | None = None


def compute_bond_spread(
    lattice: Array, positions: Array, species: Sequence[str], cations: Sequence[str], coordination: int, anion: str
) -> float:
    """Return the standard deviation, Å, of the lengths of all bonds of these cations to their nearest anions.

    lattice (3, 3) and positions (n_atoms, 3) in Å, periodic. Each cation counts with its `coordination` nearest anions,
    wherever they are: six in rock salt. InputError where a cation has fewer within 12 Å.
    """
    symbols = np.asarray(species)
    reach = _FIRST_REACH_ANG
    while True:
        first, second, distances = neighbour_list(
            "ijd", cutoff=reach, positions=positions, cell=lattice, pbc=np.ones(3, dtype=bool)
        )
        is_bond = np.isin(symbols[first], list(cations)) & (symbols[second] == anion)
        sites = np.flatnonzero(np.isin(symbols, list(cations)))
        found = [np.sort(distances[is_bond & (first == site)])[:coordination] for site in sites]
        if found and all(len(bonds) == coordination for bonds in found):
            return float(np.concatenate(found).std())
        if reach >= _LONGEST_REACH_ANG:
            raise InputError(f"a cation has fewer than {coordination} {anion} within {reach:g} Å")
        reach += 1.0


def compute_cell_spread(
    cell: Structure, relaxation: Relaxation, cations: Sequence[str], params: StabilityParams
) -> float | None:
    """`compute_bond_spread` of the mixed sublattice of a relaxed cell, Å; None without a final state."""
    if relaxation.lattice is None or relaxation.positions is None:
        return None
    prototype = get_prototype(params.prototype)
    mixed = get_mixed_sublattice(params)
    coordination = next(part.coordination for part in prototype.sublattices if part.name == mixed)
    return compute_bond_spread(
        relaxation.lattice, relaxation.positions, cell.species, cations, coordination, prototype.anion
    )


def compute_radius_mismatch(cations: Sequence[str], params: StabilityParams) -> float:
    """δ = 100 sqrt(Σ x (1 - r/r̄)²), %, of Shannon's radii on the mixed sublattice; InputError for one without."""
    prototype = get_prototype(params.prototype)
    mixed = get_mixed_sublattice(params)
    coordination = next(part.coordination for part in prototype.sublattices if part.name == mixed)
    occupation = make_occupation(tuple(cations), params)
    states = balance_charges(prototype.get_amounts(occupation), prototype.anions_per_formula).states[mixed]
    radii = np.array([find_site_radius(cation, states[cation], coordination) for cation in cations])
    return float(100 * np.sqrt(np.mean((1 - radii / radii.mean()) ** 2)))


def find_imbalance(cations: Sequence[str], params: StabilityParams) -> str | None:
    """Say that a mixture, or the oxide of one of its cations, has too few or too many electrons for this crystal.

    Such an oxide, AlO for one, is nothing that a mixture could come from or fall apart into. None where all balance;
    InputError for an element without a charge in oxides.
    """
    prototype = get_prototype(params.prototype)
    unbalanced = []
    for part in [tuple(cations), *((cation,) for cation in cations)]:
        amounts = prototype.get_amounts(make_occupation(part, params))
        residual = balance_charges(amounts, prototype.anions_per_formula).residual
        if residual:
            unbalanced.append(f"{name_mixture(part)} {residual:+.3g}")
    if not unbalanced:
        return None
    return f"charges do not balance as {params.prototype}, e a formula: {', '.join(unbalanced)}"


def summarise_mixture(
    cations: tuple[str, ...],
    cells: Sequence[MixtureCell],
    params: StabilityParams,
    references: Mapping[str, Oxide],
    competitors: Mapping[str, Oxide],
) -> Mixture:
    """Return what the cells of a mixture say; only converged ones count, and what is missing is said in `failure`.

    No enthalpy where charges do not balance, see find_imbalance.
    references: the oxide of each cation that the enthalpy counts from. competitors: the lowest that the model relaxed.
    """
    shares = dict.fromkeys(cations, 1 / len(cations))
    counted = [cell for cell in cells if cell.converged and cell.energy_ev_per_atom is not None]
    reasons = dict.fromkeys(cell.failure for cell in cells if cell.failure)
    mixture: dict[str, object] = {"references": {c: references[c].polymorph for c in cations}}
    is_balanced = False
    try:
        mixture["radius_mismatch_percent"] = compute_radius_mismatch(cations, params)
        imbalance = find_imbalance(cations, params)
        is_balanced = imbalance is None
        if imbalance is not None:
            reasons[imbalance] = None
    except InputError as exc:
        reasons[str(exc)] = None
    for oxide in (*references.values(), *competitors.values()):
        if oxide.cation in cations and oxide.energy_ev_per_atom is not None and oxide.failure is not None:
            reasons[f"oxide of {oxide.cation}: {oxide.failure}"] = None
    entropy_r = math.log(len(cations))
    energies = np.array([cell.energy_ev_per_atom for cell in counted], dtype=float)
    spreads = np.array([cell.bond_spread_ang for cell in counted if cell.bond_spread_ang is not None], dtype=float)
    if len(spreads):
        mixture |= {"bond_spread_ang": float(spreads.mean()), "bond_spread_sem_ang": compute_sem(spreads)}
    if len(energies) and is_balanced:
        sites = compute_sites_per_atom(params)
        try:
            enthalpy = float(energies.mean()) - compute_mixture_energy(shares, references)
            mixture |= {
                "mixing_enthalpy_ev_per_atom": enthalpy,
                "mixing_enthalpy_sem_ev_per_atom": compute_sem(energies),
                "mixing_enthalpy_ev_per_cation": enthalpy / sites,
                "mixing_temperature_k": enthalpy / (BOLTZMANN_EV_PER_K * entropy_r * sites) if entropy_r else None,
            }
        except InputError as exc:
            reasons[str(exc)] = None
        try:
            lowest = float(energies.mean()) - compute_mixture_energy(shares, competitors)
            phases = " + ".join(f"{share:.3g} {c} {competitors[c].polymorph}" for c, share in shares.items())
            mixture |= {"decomposition_energy_ev_per_atom": lowest, "decomposition": phases}
        except InputError as exc:
            reasons[str(exc)] = None
    return Mixture(
        composition=name_mixture(cations),
        cations=cations,
        n_cells=len(cells),
        n_converged=len(counted),
        entropy_r=entropy_r,
        failure="; ".join(reasons) or None,
        **mixture,  # type: ignore[arg-type]
    )


def compute_sites_per_atom(params: StabilityParams) -> float:
    """Sites of the mixed sublattice over all atoms: 1/2 in rock salt."""
    prototype = get_prototype(params.prototype)
    per_formula = prototype.per_formula
    n_atoms = sum(per_formula.values()) + prototype.anions_per_formula
    return per_formula[get_mixed_sublattice(params)] / n_atoms


def compute_sem(values: Array) -> float | None:
    """Return the standard error of a mean, in the unit of the values (n,); None for fewer than two."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
