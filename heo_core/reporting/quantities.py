"""How each metric is called, scaled and read by people: meV where the database has eV, per cent for its fractions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher", "one"]

MINUS = "\N{MINUS SIGN}"
NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Quantity:
    """One metric as people see it: value shown = value stored * factor, in `unit`; `better`: the good way, if any."""

    title: str
    unit: str
    factor: float
    better: Better | None
    meaning: str


def _energy(title: str, meaning: str, better: Better | None = "lower") -> Quantity:
    return Quantity(title, "meV/atom", 1000.0, better, meaning)


def _force(title: str, meaning: str, better: Better | None = "lower") -> Quantity:
    return Quantity(title, "meV/Å", 1000.0, better, meaning)


def _share(title: str, meaning: str) -> Quantity:
    return Quantity(title, "%", 100.0, "higher", meaning)


def _success(n_calls: int) -> Quantity:
    return _share(
        f"Success@{n_calls}",
        f"share of all structures that converged within {n_calls} force calls; failures count as not converged",
    )


QUANTITIES: dict[str, Quantity] = {
    "forces_rmse_ev_per_ang": _force("Force RMSE", "root mean square error over all force components"),
    "forces_mae_ev_per_ang": _force("Force MAE", "mean absolute error over all force components"),
    "forces_median_ev_per_ang": _force("Force median error", "median absolute error of the force components"),
    "forces_q95_ev_per_ang": _force(
        "Force 95th percentile", "95 % of the force components have a smaller absolute error"
    ),
    "forces_cosine": Quantity(
        "Force cosine", "", 1.0, "one", "mean cosine of the angle between predicted and reference force; 1 is right"
    ),
    "zero_force_rmse_ev_per_ang": _force(
        "Zero-force RMSE",
        "force RMSE of predicting zero everywhere: what a model must beat to know anything about forces",
        None,
    ),
    "zero_force_mae_ev_per_ang": _force("Zero-force MAE", "force MAE of predicting zero everywhere", None),
    "forces_skill": Quantity(
        "Force skill",
        "",
        1.0,
        "higher",
        "skill of the forces against predicting zero everywhere: 1 is perfect, below 0 is worse than zero force",
    ),
    "forces_softening_slope": Quantity(
        "Softening slope",
        "",
        1.0,
        "one",
        "least-squares slope of predicted on reference force components: 1 is right, below 1 is too soft",
    ),
    "energy_rmse_ev_per_atom": _energy("Energy RMSE", "root mean square error of the energy per atom"),
    "energy_mae_ev_per_atom": _energy("Energy MAE", "mean absolute error of the energy per atom"),
    "energy_median_ev_per_atom": _energy("Energy median error", "median absolute error of the energy per atom"),
    "energy_q95_ev_per_atom": _energy(
        "Energy 95th percentile", "95 % of the structures have a smaller absolute error of the energy"
    ),
    "energy_mean_removed_rmse_ev_per_atom": _energy(
        "Energy RMSE, mean removed",
        "energy RMSE after the mean error is taken off: blind to a constant shift of the energy scale",
    ),
    "mean_energy_baseline_rmse_ev_per_atom": _energy(
        "Composition-only energy RMSE",
        "energy RMSE of a mean energy by composition: what a model must beat to know about structure",
        None,
    ),
    "energy_skill": Quantity(
        "Energy skill",
        "",
        1.0,
        "higher",
        "skill of the energies against the composition-only baseline: 1 is perfect, below 0 is worse than it",
    ),
    "energy_offset_removed_rmse_ev_per_atom": _energy(
        "Energy RMSE, offset removed",
        "energy RMSE after an offset linear in the composition is taken off, fitted on other chemical systems: fair "
        "to a model that counts energies from the zero of its own labels. Where the scales agree it may be larger than "
        "the energy RMSE as it is",
    ),
    "energy_offset_removed_mae_ev_per_atom": _energy("Energy MAE, offset removed", "the same, mean absolute error"),
    "energy_offset_removed_median_ev_per_atom": _energy(
        "Energy median error, offset removed", "the same, median absolute error"
    ),
    "energy_offset_removed_q95_ev_per_atom": _energy(
        "Energy 95th percentile, offset removed", "the same, 95 % of the structures have a smaller absolute error"
    ),
    "stress_rmse_ev_per_ang3": Quantity(
        "Stress RMSE", "meV/Å³", 1000.0, "lower", "root mean square error over the six components of the stress"
    ),
    "stress_mae_ev_per_ang3": Quantity(
        "Stress MAE", "meV/Å³", 1000.0, "lower", "mean absolute error over the six components of the stress"
    ),
    "equilibrium_volume_mae_fraction": Quantity(
        "Volume error", "%", 100.0, "lower", "mean absolute error of the volume of lowest energy, over the oxides"
    ),
    "equilibrium_volume_mean_fraction": Quantity(
        "Volume error, signed", "%", 100.0, None, "mean signed error of the volume of lowest energy; above 0: too large"
    ),
    "equilibrium_volume_median_fraction": Quantity(
        "Volume error, median", "%", 100.0, "lower", "median absolute error of the volume of lowest energy"
    ),
    "bulk_modulus_mae_fraction": Quantity(
        "Bulk modulus error", "%", 100.0, "lower", "mean absolute error of the bulk modulus, over the oxides"
    ),
    "bulk_modulus_mean_fraction": Quantity(
        "Bulk modulus error, signed", "%", 100.0, None, "mean signed error of the bulk modulus; below 0: too soft"
    ),
    "bulk_modulus_median_fraction": Quantity(
        "Bulk modulus error, median", "%", 100.0, "lower", "median absolute error of the bulk modulus"
    ),
    "bulk_modulus_mae_gpa": Quantity(
        "Bulk modulus error, GPa", "GPa", 1.0, "lower", "mean absolute error of the bulk modulus"
    ),
    "energy_volume_rmse_mean_ev_per_atom": _energy(
        "Curve deviation",
        "root mean square difference of the energy-volume curves, each from its value at the reference's volume; mean "
        "over the oxides",
    ),
    "energy_volume_rmse_median_ev_per_atom": _energy("Curve deviation, median", "the same, median over the oxides"),
    "convergence_rate": _share(
        "Converged",
        "share of all structures whose final state is below the force limit; failures count as not converged",
    ),
    "success_at_25": _success(25),
    "success_at_50": _success(50),
    "success_at_100": _success(100),
    "success_at_200": _success(200),
    "force_calls_median": Quantity(
        "Force calls, median", "calls", 1.0, "lower", "median number of force evaluations; a softer model needs fewer"
    ),
    "force_calls_mean": Quantity(
        "Force calls, mean", "calls", 1.0, "lower", "mean number of force evaluations where both models converged"
    ),
    "displacement_rmsd_mean_ang": Quantity(
        "Displacement RMSD, mean",
        "Å",
        1.0,
        "lower",
        "distance of the relaxed atoms from the reference structure; periodic images and drift removed",
    ),
    "displacement_rmsd_median_ang": Quantity(
        "Displacement RMSD, median", "Å", 1.0, "lower", "the same, median over the structures"
    ),
    "rmsd_normalized_mean": Quantity(
        "Normalized RMSD, mean",
        "",
        1.0,
        "lower",
        "distance to the reference structure by pymatgen's StructureMatcher, over the edge of the volume of an atom; 1 "
        "where it finds no match",
    ),
    "symmetry_kept_rate_1e2": _share(
        "Symmetry kept, 0.01 Å", "share of the relaxed cells with the space group of their reference, symprec 0.01 Å"
    ),
    "symmetry_kept_rate_1e5": _share("Symmetry kept, 1e-5 Å", "the same, symprec 1e-5 Å"),
    "volume_change_mean_fraction": Quantity(
        "Volume change, mean",
        "%",
        100.0,
        None,
        "signed change of the cell volume against the cell that was relaxed; near 0 is right for a relaxed reference",
    ),
    "energy_above_unrattled_mean_ev_per_atom": _energy(
        "Energy above unrattled",
        "the model's own energy of the relaxed rattled cell minus that of the relaxed unrattled one",
        None,
    ),
    "energy_final_mean_ev_per_atom": Quantity(
        "Final energy, mean",
        "eV/atom",
        1.0,
        None,
        "the model's own energy; two models' own energies are not comparable",
    ),
    "labelled_energy_mean_ev_per_atom": _energy(
        "Relaxed energy by labels", "mean energy of the relaxed cells by a label set, of DFT or of a third model"
    ),
    "reference_energy_mean_ev_per_atom": Quantity(
        "Energy under the reference",
        "eV/atom",
        1.0,
        "lower",
        "energy of the relaxed cell under one common reference model; lower is better relaxed",
    ),
    "forces_deviation_max_ev_per_ang": _force(
        "Force against energy, largest", "largest deviation of a force from the difference of the model's own energy"
    ),
    "forces_deviation_rms_mean_ev_per_ang": _force(
        "Force against energy",
        "root mean square deviation of the forces from differences of the model's own energy",
    ),
    "stress_deviation_max_ev_per_ang3": Quantity(
        "Stress against energy, largest", "meV/Å³", 1000.0, "lower", "the same of the stress, largest deviation"
    ),
    "stress_deviation_rms_mean_ev_per_ang3": Quantity(
        "Stress against energy", "meV/Å³", 1000.0, "lower", "the same of the stress, root mean square"
    ),
    "energy_drift_mae_ev_per_atom_per_ps": Quantity(
        "Energy drift", "meV/atom/ps", 1000.0, "lower", "slope of the total energy of a simulation at constant energy"
    ),
    "volume_curve_smooth_rate": _share("Smooth E(V)", "share of oxides whose energy has one well over the volume"),
    "volume_curve_flips_mean": Quantity(
        "E(V) flips", "", 1.0, "lower", "turns of the energy over the volume beyond the one of a single well"
    ),
    "bulk_modulus_mean_gpa": Quantity("Bulk modulus, mean", "GPa", 1.0, None, "mean over the oxides"),
    "repulsive_rate": _share("Repulsive pairs", "share of metal-oxygen pairs that repel down to 1 Å or less"),
    "repulsive_down_to_mean_ang": Quantity(
        "Repulsive down to", "Å", 1.0, "lower", "mean distance down to which a metal-oxygen pair repels"
    ),
    "repulsion_at_1_ang_mean_ev": Quantity(
        "Repulsion at 1 Å",
        "eV",
        1.0,
        None,
        "energy of a pair at 1 Å above its bond's; below 0 it falls into a hole",
    ),
    "repulsion_flips_mean": Quantity(
        "Repulsion flips", "", 1.0, "lower", "turns of a pair's energy over its distance beyond the one of the bond"
    ),
    "failed_count": Quantity(
        "Failed", "structures", 1.0, "lower", "structures for which the model gave no usable answer"
    ),
}


def get_quantity(name: str, unit: str = "") -> Quantity:
    """Return how a metric is shown; an unknown one keeps its own words and unit."""
    return QUANTITIES.get(name) or Quantity(name.replace("_", " "), unit, 1.0, None, "")


def get_difference_quantity(name: str, unit: str = "") -> Quantity:
    """Return how a difference of this metric is shown: total energies differ by meV, percentages by points."""
    quantity = get_quantity(name, unit)
    if quantity.unit == "eV/atom":
        return _energy(quantity.title, quantity.meaning, quantity.better)
    if quantity.unit == "%":
        return Quantity(quantity.title, "points", quantity.factor, quantity.better, quantity.meaning)
    return quantity


def choose_decimals(scale: float) -> int:
    """Return the decimals that show a number of this size with one significant digit, two if it starts with 1 or 2."""
    if not math.isfinite(scale) or scale <= 0:
        return 0
    return min(6, max(0, math.ceil(math.log10(3.0) - math.log10(scale))))


def count_decimals(value: float, digits: int) -> int:
    """Return the decimals that show a number with so many significant digits, at most six; none for zero."""
    if value == 0 or not math.isfinite(value):
        return 0
    return min(6, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def format_number(value: float, decimals: int, *, signed: bool = False) -> str:
    """Return the number with a true minus sign; a zero has no sign."""
    text = f"{value:+,.{decimals}f}" if signed else f"{value:,.{decimals}f}"
    if float(text.replace(",", "")) == 0.0:
        text = text.lstrip("+-")
    return text.replace(",", NO_BREAK).replace("-", MINUS)


def format_bound(bound: float, decimals: int) -> str:
    """Return a bound of an interval; one beside zero has as many decimals as it takes not to be shown as zero."""
    while bound != 0 and round(bound, decimals) == 0 and decimals < 4:
        decimals += 1
    return format_number(bound, decimals, signed=True)


def format_significant(value: float, digits: int = 3) -> str:
    """Return the number with so many significant digits, never in powers of ten: 41.2, 0.0312, 1 204."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    return format_number(value, count_decimals(value, digits))
