"""Benchmark equation-of-state: energy against volume of binary oxides, the model's against the reference's.

Each material is one cell at a row of volumes, scaled evenly around the reference's own relaxed volume. To the energies
per atom a third-order Birch-Murnaghan equation of state is fitted, which in x = V^(-2/3) is a cubic polynomial, so the
fit is linear and exact; its minimum is the equilibrium volume V0, its curvature there the bulk modulus B0 = V d²E/dV².
Energies are compared as differences only: the whole curve less its own value at the reference's relaxed volume.

A material has no V0 and B0, and counts as failed, when an energy is missing or not finite (an element that the model
does not know) or when there is no minimum within the volumes. The curve needs the energies alone. Each metric's n says
how many materials are behind it; intervals are bootstraps over materials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heo_core.evaluation.metrics import mean_metric, subtract_paired
from heo_core.records import Array, BenchmarkCase, Metric, Prediction, VolumeCurve

GPA_PER_EV_PER_ANG3 = 160.21766208

_N_COEFFICIENTS = 4


@dataclass(frozen=True)
class VolumeFit:
    """Minimum of an equation of state: energy (eV/atom), volume (Å³/atom), and bulk modulus there (GPa)."""

    energy_ev_per_atom: float
    volume_ang3_per_atom: float
    bulk_modulus_gpa: float


def fit_birch_murnaghan(volumes: Array, energies: Array) -> VolumeFit | None:
    """Fit E(V), both (n,), per atom, eV and Å³; None without a minimum within the volumes.

    Third order: E is a cubic polynomial in V^(-2/3), here by linear least squares. ValueError with fewer than four
    volumes.
    """
    if len(volumes) < _N_COEFFICIENTS:
        msg = f"{len(volumes)} volumes; an equation of state of third order needs {_N_COEFFICIENTS} or more"
        raise ValueError(msg)
    # Around the middle and scaled, so that the powers are of one size.
    scale = float(np.exp(np.log(volumes).mean()))
    x = (volumes / scale) ** (-2 / 3)
    reach = float(np.ptp(x)) / 2 or 1.0
    a0, a1, a2, a3 = np.polynomial.polynomial.polyfit((x - 1) / reach, energies, 3)
    place = _find_minimum(a1, 2 * a2, 3 * a3)
    if place is None or 1 + reach * place <= 0:
        return None
    volume = scale * float(1 + reach * place) ** (-3 / 2)
    if not volumes.min() <= volume <= volumes.max():
        return None
    energy = a0 + place * (a1 + place * (a2 + place * a3))
    # d²E/dV² = E''(x) (dx/dV)² where E'(x) = 0
    curvature = (2 * a2 + 6 * a3 * place) / reach**2
    second = curvature * (2 / 3 * (volume / scale) ** (-5 / 3) / scale) ** 2
    return VolumeFit(float(energy), volume, float(volume * second * GPA_PER_EV_PER_ANG3))


def _find_minimum(c: float, b: float, a: float) -> float | None:
    """Root of c + b t + a t² at which it rises, in the form that stays exact for a near 0; None if there is none."""
    discriminant = b**2 - 4 * a * c
    if discriminant <= 0:
        return None
    root = float(np.sqrt(discriminant))
    if b > 0:
        return float(-2 * c / (b + root))
    return float((root - b) / (2 * a)) if a else None


def compute_rows(cases: Sequence[BenchmarkCase], predictions: Sequence[Prediction]) -> list[VolumeCurve]:
    """One row a material, in alphabetical order; predictions[i] belongs to cases[i]."""
    by_material: dict[str, list[tuple[BenchmarkCase, Prediction]]] = {}
    for case, prediction in zip(cases, predictions, strict=True):
        by_material.setdefault(str(case.recipe["material"]), []).append((case, prediction))
    return [_compute_row(material, pairs) for material, pairs in sorted(by_material.items())]


def _compute_row(material: str, pairs: list[tuple[BenchmarkCase, Prediction]]) -> VolumeCurve:
    pairs = sorted(pairs, key=lambda pair: pair[0].start.volume_ang3)
    volumes = np.array([case.start.volume_ang3 / case.start.n_atoms for case, _ in pairs])
    reference = np.array([(case.start.energy_ev or np.nan) / case.start.n_atoms for case, _ in pairs])
    known = fit_birch_murnaghan(volumes, reference) if np.isfinite(reference).all() else None
    if known is None:
        return VolumeCurve(material, len(pairs), failure="the reference's curve has no minimum within the volumes")
    about = (material, len(pairs), known.volume_ang3_per_atom, known.bulk_modulus_gpa)
    failure = next((prediction.failure for _, prediction in pairs if prediction.failure), None)
    energies = np.array(
        [
            np.nan if prediction.energy_ev is None else prediction.energy_ev / case.start.n_atoms
            for case, prediction in pairs
        ]
    )
    if failure or not np.isfinite(energies).all():
        return VolumeCurve(*about, failure=failure or "an energy is not a finite number")
    middle = int(np.argmin([abs(case.recipe["volume_factor"] - 1) for case, _ in pairs]))
    deviations = (energies - energies[middle]) - (reference - reference[middle])
    curve = float(np.sqrt(np.mean(deviations**2)))
    found = fit_birch_murnaghan(volumes, energies)
    if found is None:
        span = f"{volumes[0]:.2f} and {volumes[-1]:.2f} Å³/atom"
        return VolumeCurve(
            *about, energy_volume_rmse_ev_per_atom=curve, failure=f"no minimum of the energy between {span}"
        )
    return VolumeCurve(
        *about,
        equilibrium_volume_ang3_per_atom=found.volume_ang3_per_atom,
        bulk_modulus_gpa=found.bulk_modulus_gpa,
        equilibrium_volume_error_fraction=found.volume_ang3_per_atom / known.volume_ang3_per_atom - 1,
        bulk_modulus_error_fraction=found.bulk_modulus_gpa / known.bulk_modulus_gpa - 1,
        energy_volume_rmse_ev_per_atom=curve,
    )


Values = list[float | None]


def _list_means(rows: Sequence[VolumeCurve]) -> list[tuple[str, str, Values]]:
    """Name, unit and one value a material of every mean."""
    volumes = [row.equilibrium_volume_error_fraction for row in rows]
    moduli = [row.bulk_modulus_error_fraction for row in rows]
    stiffness = subtract_paired(
        [row.bulk_modulus_gpa for row in rows], [row.reference_bulk_modulus_gpa for row in rows]
    )
    return [
        ("equilibrium_volume_mae_fraction", "1", _absolute(volumes)),
        ("equilibrium_volume_mean_fraction", "1", volumes),
        ("bulk_modulus_mae_fraction", "1", _absolute(moduli)),
        ("bulk_modulus_mean_fraction", "1", moduli),
        ("bulk_modulus_mae_gpa", "GPa", _absolute(stiffness)),
        ("energy_volume_rmse_mean_ev_per_atom", "eV/atom", [row.energy_volume_rmse_ev_per_atom for row in rows]),
    ]


def _absolute(values: Values) -> Values:
    return [None if value is None else abs(value) for value in values]


def compute_metrics(
    cases: Sequence[BenchmarkCase], predictions: Sequence[Prediction], rng: np.random.Generator
) -> list[Metric]:
    """All metrics of one model; predictions[i] belongs to cases[i]."""
    rows = compute_rows(cases, predictions)
    materials = [row.material for row in rows]
    means = _list_means(rows)
    medians = {
        "equilibrium_volume_median_fraction": means[0][2],
        "bulk_modulus_median_fraction": means[2][2],
        "energy_volume_rmse_median_ev_per_atom": means[5][2],
    }
    return [
        *(mean_metric(name, unit, values, materials, rng) for name, unit, values in means),
        *(
            _median_metric(name, "eV/atom" if name.endswith("atom") else "1", values)
            for name, values in medians.items()
        ),
        Metric("failed_count", float(sum(row.failure is not None for row in rows)), "1", len(rows)),
    ]


def _median_metric(name: str, unit: str, values: Values) -> Metric:
    kept = [value for value in values if value is not None]
    return Metric(name, float(np.median(kept)) if kept else None, unit, len(kept))


def compare(
    cases: Sequence[BenchmarkCase],
    baseline_predictions: Sequence[Prediction],
    candidate_predictions: Sequence[Prediction],
    rng: np.random.Generator,
) -> list[Metric]:
    """Paired differences candidate - baseline over the materials for which both have a number.

    Each has the name of the metric it is a difference of; those of an error's size are negative where it shrank.
    """
    before, after = compute_rows(cases, baseline_predictions), compute_rows(cases, candidate_predictions)
    materials = [row.material for row in before]
    return [
        mean_metric(name, unit, subtract_paired(values, others), materials, rng)
        for (name, unit, values), (_, _, others) in zip(_list_means(after), _list_means(before), strict=True)
    ]
