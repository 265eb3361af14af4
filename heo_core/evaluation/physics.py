"""Benchmark physics: what must hold for any potential, whatever the labels.

Forces and stress are the slopes of the energy (central differences); the total energy of a moving cell stays what it
is; the energy of an oxide over its volume is one well; a metal and an oxygen pressed together repel each other. Cells
and oxides are those of the bundled reference sets, their labels unused; a pair stands alone in a large box.

A check on one subject (a cell, an oxide, a pair) is some numbers, or the reason why there are none: an element that the
model does not know, an energy that is not finite. Averages and rates are over the subjects that have the number, n
says how many; `failed_count` counts the others. Intervals of means are bootstraps over subjects, those of rates are
Wilson's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from ase import units
from ase.data import atomic_masses, atomic_numbers

from heo_core.errors import InputError
from heo_core.evaluation.equation_of_state import fit_birch_murnaghan
from heo_core.evaluation.metrics import mean_metric, rate_metric, subtract_paired
from heo_core.evaluation.reference_sets import load_reference_set
from heo_core.models.potential import Potential
from heo_core.params import PhysicsParams
from heo_core.records import Array, BenchmarkCase, Metric, PhysicsCheck, Prediction, Structure
from heo_core.structures.perturb import remove_labels, strain

FORCE_UNIT, STRESS_UNIT = "eV/Å", "eV/Å³"
DRIFT_UNIT = "eV/atom/ps"

# Volumes over the reference's relaxed one; the equation of state is fitted to those within a tenth of it.
VOLUME_FACTORS = (0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 1.0, 1.025, 1.05, 1.075, 1.1, 1.15, 1.2)
_FIT_FACTORS = (0.9, 1.1)
_MAX_ATOMS_OF_OXIDE = 10
DISTANCES_ANG = (0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.6, 2.8, 3.0)
_BOND_ANG = 1.4  # metal-oxygen bonds are as long or longer
_PRESSED_ANG = 1.0  # and none is as short
_BOX_ANG = 20.0  # wider than any potential's reach, so that a pair sees no image of itself
_FLAT_EV = 1e-4  # a smaller change of a curve from point to point is none

# Name of the mean, and check, number and unit that it is the mean of.
_MEANS = (
    ("forces_deviation_rms_mean_ev_per_ang", "forces", "forces_deviation_rms_ev_per_ang", FORCE_UNIT),
    ("stress_deviation_rms_mean_ev_per_ang3", "stress", "stress_deviation_rms_ev_per_ang3", STRESS_UNIT),
    ("energy_drift_mae_ev_per_atom_per_ps", "energy-drift", "energy_drift_ev_per_atom_per_ps", DRIFT_UNIT),
    ("volume_curve_flips_mean", "volume-curve", "energy_flips", "1"),
    ("bulk_modulus_mean_gpa", "volume-curve", "bulk_modulus_gpa", "GPa"),
    ("repulsion_flips_mean", "repulsion", "energy_flips", "1"),
    ("repulsion_at_1_ang_mean_ev", "repulsion", "energy_at_1_ang_ev", "eV"),
    ("repulsive_down_to_mean_ang", "repulsion", "repulsive_down_to_ang", "Å"),
)
_LARGEST = (
    ("forces_deviation_max_ev_per_ang", "forces", FORCE_UNIT),
    ("stress_deviation_max_ev_per_ang3", "stress", STRESS_UNIT),
)


# --- cases ----------------------------------------------------------------------------------------------------------


def make_cases(params: PhysicsParams) -> list[BenchmarkCase]:
    """All structures whose energy is asked for: cells with their moved and strained copies, oxides, pairs.

    A recipe says which check and subject a structure belongs to, and how it was changed. InputError for more cells than
    there are prototypes to take them from.
    """
    cells = [case for cell in _choose_cells(params.n_cells) for case in _move_and_strain(cell, params)]
    metals = params.metals or sorted({e for case in load_reference_set("off-equilibrium") for e in case.start.elements})
    pairs = [case for metal in metals if metal != "O" for case in _press_together(metal)]
    return [*cells, *_scale_oxides(), *pairs]


def _choose_cells(n: int) -> list[BenchmarkCase]:
    """Return the smallest cell of each prototype of the set off equilibrium, the n smallest of them."""
    cells = sorted(
        load_reference_set("off-equilibrium"), key=lambda case: (case.start.n_atoms, case.start.immutable_id)
    )
    smallest: dict[str, BenchmarkCase] = {}
    for case in cells:
        smallest.setdefault(case.recipe["prototype"], case)
    if n > len(smallest):
        raise InputError(f"n_cells is {n}; at most {len(smallest)} are allowed, one a prototype")
    return list(smallest.values())[:n]


def _move_and_strain(case: BenchmarkCase, params: PhysicsParams) -> Iterator[BenchmarkCase]:
    cell = remove_labels(case.start)
    about = {"check": "cell", "subject": f"{cell.formula_reduced} {case.recipe['prototype']}"}
    yield BenchmarkCase(cell, None, about)
    for atom, axis, sign in np.ndindex(cell.n_atoms, 3, 2):
        step = params.step_ang * (1 - 2 * sign)
        positions = cell.positions.copy()
        positions[atom, axis] += step
        moved = replace(cell, positions=positions, immutable_id=f"{cell.immutable_id}/atom-{atom}-{axis}-{sign}")
        yield BenchmarkCase(moved, None, about | {"atom": atom, "axis": axis, "step_ang": step})
    for row, column in zip(*np.triu_indices(3), strict=True):
        for sign in (0, 1):
            tensor = np.zeros((3, 3))
            tensor[row, column] = tensor[column, row] = step = params.strain_step * (1 - 2 * sign)
            strained = replace(strain(cell, tensor), immutable_id=f"{cell.immutable_id}/strain-{row}-{column}-{sign}")
            yield BenchmarkCase(strained, None, about | {"row": int(row), "column": int(column), "strain": step})


def _scale_oxides() -> Iterator[BenchmarkCase]:
    for case in load_reference_set("equation-of-state"):
        if case.recipe["volume_factor"] != 1 or case.start.n_atoms > _MAX_ATOMS_OF_OXIDE:
            continue
        cell = remove_labels(case.start)
        about = {"check": "volume-curve", "subject": case.recipe["material"]}
        for factor in VOLUME_FACTORS:
            scaled = strain(cell, np.eye(3) * (factor ** (1 / 3) - 1))
            yield BenchmarkCase(
                replace(scaled, immutable_id=f"{about['subject']}/volume-{factor}"),
                None,
                about | {"volume_factor": factor},
            )


def _press_together(metal: str) -> Iterator[BenchmarkCase]:
    pair = f"{metal}-O"
    for distance in DISTANCES_ANG:
        positions = np.full((2, 3), _BOX_ANG / 2)
        positions[1, 0] += distance
        start = Structure(np.eye(3) * _BOX_ANG, positions, (metal, "O"), f"{pair}/{distance}", "generated")
        yield BenchmarkCase(start, None, {"check": "repulsion", "subject": pair, "distance_ang": distance})


# --- checks of energies ---------------------------------------------------------------------------------------------


Pairs = Sequence[tuple[BenchmarkCase, Prediction]]


@dataclass(frozen=True)
class _Number:
    """A number that a check gives: the kind of the check, the number's name, its unit."""

    kind: str
    name: str
    unit: str


_CELL = (
    _Number("forces", "forces_deviation_max_ev_per_ang", FORCE_UNIT),
    _Number("forces", "forces_deviation_rms_ev_per_ang", FORCE_UNIT),
    _Number("stress", "stress_deviation_max_ev_per_ang3", STRESS_UNIT),
    _Number("stress", "stress_deviation_rms_ev_per_ang3", STRESS_UNIT),
)
_VOLUME = (
    _Number("volume-curve", "energy_flips", "1"),
    _Number("volume-curve", "bulk_modulus_gpa", "GPa"),
)
_PAIR = (
    _Number("repulsion", "energy_flips", "1"),
    _Number("repulsion", "energy_at_1_ang_ev", "eV"),
    _Number("repulsion", "repulsive_down_to_ang", "Å"),
)
_DRIFT = (
    _Number("energy-drift", "energy_drift_ev_per_atom_per_ps", DRIFT_UNIT),
    _Number("energy-drift", "energy_fluctuation_ev_per_atom", "eV/atom"),
)


def compute_checks(cases: Sequence[BenchmarkCase], predictions: Sequence[Prediction]) -> list[PhysicsCheck]:
    """All numbers of the checks that need energies only; predictions[i] belongs to cases[i]."""
    subjects: dict[tuple[str, str], list[tuple[BenchmarkCase, Prediction]]] = {}
    for case, prediction in zip(cases, predictions, strict=True):
        subjects.setdefault((case.recipe["check"], case.recipe["subject"]), []).append((case, prediction))
    checks: list[PhysicsCheck] = []
    for (check, subject), pairs in subjects.items():
        numbers, compute = _CHECKS[check]
        failure = next((p.failure or "an energy is missing" for _, p in pairs if p.energy_ev is None), None)
        found = _state(numbers, subject, failure) if failure else compute(subject, pairs)
        checks += found
    return checks


def _state(numbers: Sequence[_Number], subject: str, failure: str) -> list[PhysicsCheck]:
    return [PhysicsCheck(number.kind, subject, number.name, None, number.unit, failure) for number in numbers]


def _give(numbers: Sequence[_Number], subject: str, values: Sequence[float]) -> list[PhysicsCheck]:
    return [
        PhysicsCheck(number.kind, subject, number.name, float(value), number.unit)
        for number, value in zip(numbers, values, strict=True)
    ]


def _check_cell(subject: str, pairs: Pairs) -> list[PhysicsCheck]:
    """Deviation of forces and stress from central differences of the energy.

    Force -(E+ - E-)/2h. Stress (E+ - E-)/2hV; off the diagonal h stands twice in the strain, so 4hV.
    """
    cell, itself = next((case.start, prediction) for case, prediction in pairs if _is_itself(case))
    forces, stress = np.zeros((cell.n_atoms, 3)), np.zeros((3, 3))
    for case, prediction in pairs:
        recipe, energy = case.recipe, prediction.energy_ev or 0.0
        if "atom" in recipe:
            forces[recipe["atom"], recipe["axis"]] -= energy / (2 * recipe["step_ang"])
        elif "row" in recipe:
            row, column = recipe["row"], recipe["column"]
            n_entries = 1 if row == column else 2
            stress[row, column] += energy / (2 * n_entries * recipe["strain"] * cell.volume_ang3)
    if itself.forces_ev_per_ang is None or itself.stress_ev_per_ang3 is None:
        return _state(_CELL, subject, "the model gives no forces or no stress")
    upper = np.triu_indices(3)
    deviations = (itself.forces_ev_per_ang - forces, itself.stress_ev_per_ang3[upper] - stress[upper])
    return _give(_CELL, subject, [value for deviation in deviations for value in _measure(deviation)])


def _measure(deviation: Array) -> tuple[float, float]:
    return float(np.abs(deviation).max()), float(np.sqrt(np.mean(deviation**2)))


def _check_volume_curve(subject: str, pairs: Pairs) -> list[PhysicsCheck]:
    ordered = sorted(pairs, key=lambda pair: float(pair[0].recipe["volume_factor"]))
    factors = np.array([case.recipe["volume_factor"] for case, _ in ordered])
    n_atoms = ordered[0][0].start.n_atoms
    volumes = np.array([case.start.volume_ang3 for case, _ in ordered]) / n_atoms
    energies = np.array([prediction.energy_ev for _, prediction in ordered]) / n_atoms
    flips = _give(_VOLUME[:1], subject, [count_flips(energies)])
    low, high = _FIT_FACTORS
    near = (factors >= low) & (factors <= high)
    fit = fit_birch_murnaghan(volumes[near], energies[near])
    if fit is None:
        span = f"{volumes[near][0]:.2f} and {volumes[near][-1]:.2f} Å³/atom"
        return [*flips, *_state(_VOLUME[1:], subject, f"no minimum of the energy between {span}")]
    return [*flips, *_give(_VOLUME[1:], subject, [fit.bulk_modulus_gpa])]


def _check_pair(subject: str, pairs: Pairs) -> list[PhysicsCheck]:
    """Count turns; take the energy at 1 Å above that of the bond, and how far inwards from it the energy only rises.

    The bond is the lowest energy at 1.4 Å or beyond.
    """
    ordered = sorted(pairs, key=lambda pair: float(pair[0].recipe["distance_ang"]))
    distances = np.array([case.recipe["distance_ang"] for case, _ in ordered])
    energies = np.array([prediction.energy_ev for _, prediction in ordered])
    first = int(np.searchsorted(distances, _BOND_ANG))
    bond = first + int(np.argmin(energies[first:]))
    inner = bond
    while inner > 0 and energies[inner - 1] > energies[inner]:
        inner -= 1
    pressed = float(energies[np.searchsorted(distances, _PRESSED_ANG)] - energies[bond])
    return _give(_PAIR, subject, [count_flips(energies), pressed, float(distances[inner])])


def count_flips(energies: Array) -> int:
    """How often a curve, (n,), eV, turns from falling to rising or back, beyond the one turn of a single well.

    Changes from point to point below 0.1 meV are none.
    """
    changes = np.diff(energies)
    rises = changes[np.abs(changes) > _FLAT_EV] > 0
    turns = rises[1:] != rises[:-1]
    has_well = bool((turns & rises[1:]).any())
    return int(turns.sum()) - has_well


_CHECKS: dict[str, tuple[tuple[_Number, ...], Callable[[str, Pairs], list[PhysicsCheck]]]] = {
    "cell": (_CELL, _check_cell),
    "volume-curve": (_VOLUME, _check_volume_curve),
    "repulsion": (_PAIR, _check_pair),
}


# --- energy of a moving cell ----------------------------------------------------------------------------------------


def measure_drifts(potential: Potential, cases: Sequence[BenchmarkCase], params: PhysicsParams) -> list[PhysicsCheck]:
    """Let the cells of the cases move at constant energy, and tell how far the total energy does not stay what it is.

    Velocity Verlet from seeded velocities without drift, all cells side by side. energy_drift: slope of a straight line
    through the total energy per atom over time; energy_fluctuation: root mean square distance from that line.
    """
    bodies = [_Body.start(case.start, case.recipe["subject"], params) for case in cases if _is_itself(case)]
    step = params.timestep_fs * units.fs
    for number in range(params.n_steps + 1):
        going = [body for body in bodies if body.failure is None]
        for body in going:
            if number:
                body.leap(step)
        for body, prediction in zip(going, potential.predict([body.cell for body in going]), strict=True):
            body.feel(prediction, step if number else 0.0)
    return [check for body in bodies for check in body.judge(params)]


@dataclass(eq=False)
class _Body:
    """A cell that moves: velocities and forces (n_atoms, 3), masses (n_atoms, 1), all in ASE's units."""

    subject: str
    cell: Structure
    masses: Array
    velocities: Array
    forces: Array
    energies_ev: list[float] = field(default_factory=list)
    failure: str | None = None

    @classmethod
    def start(cls, cell: Structure, subject: str, params: PhysicsParams) -> _Body:
        """Draw velocities of the temperature; the momentum of the whole is taken away."""
        rng = np.random.default_rng([params.seed, int(cell.content_hash[:16], 16)])
        masses = atomic_masses[[atomic_numbers[symbol] for symbol in cell.species]][:, None]
        velocities = rng.standard_normal(cell.positions.shape) * np.sqrt(units.kB * params.temperature_k / masses)
        velocities -= (masses * velocities).sum(axis=0) / masses.sum()
        return cls(subject, cell, masses, velocities, np.zeros_like(velocities))

    def leap(self, step: float) -> None:
        """Half a step of the velocities, then a step of the positions."""
        self.velocities += step / 2 * self.forces / self.masses
        self.cell = replace(self.cell, positions=self.cell.positions + step * self.velocities)

    def feel(self, prediction: Prediction, step: float) -> None:
        """Half a step of the velocities under the new forces; note the total energy, or why there is none."""
        if prediction.energy_ev is None or prediction.forces_ev_per_ang is None:
            self.failure = f"{prediction.failure or 'no energy'}, after {max(len(self.energies_ev) - 1, 0)} steps"
            return
        self.forces = prediction.forces_ev_per_ang
        self.velocities += step / 2 * self.forces / self.masses
        self.energies_ev.append(prediction.energy_ev + float(np.sum(self.masses * self.velocities**2)) / 2)

    def judge(self, params: PhysicsParams) -> list[PhysicsCheck]:
        """Fit a straight line to the total energy per atom."""
        if self.failure is not None:
            return _state(_DRIFT, self.subject, self.failure)
        energies = np.array(self.energies_ev) / self.cell.n_atoms
        times_ps = np.arange(len(energies)) * params.timestep_fs / 1000
        slope, start = np.polyfit(times_ps, energies, 1)
        return _give(_DRIFT, self.subject, [float(slope), _measure(energies - start - slope * times_ps)[1]])


def _is_itself(case: BenchmarkCase) -> bool:
    """Whether a case is a cell as it is, neither moved nor strained."""
    return case.recipe["check"] == "cell" and "atom" not in case.recipe and "row" not in case.recipe


# --- summary --------------------------------------------------------------------------------------------------------


def compute_metrics(checks: Sequence[PhysicsCheck], rng: np.random.Generator) -> list[Metric]:
    """All metrics of one model from the numbers of its checks."""
    failed = {(check.kind, check.subject) for check in checks if check.failure is not None}
    return [
        *(_largest(name, unit, list(_read(checks, kind, name).values())) for name, kind, unit in _LARGEST),
        *(
            mean_metric(metric, unit, list(values.values()), list(values), rng)
            for metric, unit, values in _list_means(checks)
        ),
        *(rate_metric(metric, int(sum(values.values())), len(values)) for metric, values in _list_rates(checks)),
        Metric("failed_count", float(len(failed)), "1", len({(check.kind, check.subject) for check in checks})),
    ]


def compare(
    baseline: Sequence[PhysicsCheck], candidate: Sequence[PhysicsCheck], rng: np.random.Generator
) -> list[Metric]:
    """Paired differences candidate - baseline of means and rates, over the subjects that both have a number for."""
    before, after = (
        [*_list_means(checks), *((metric, "1", values) for metric, values in _list_rates(checks))]
        for checks in (baseline, candidate)
    )
    return [
        _compare_means(metric, unit, old, new, rng)
        for (metric, unit, old), (_, _, new) in zip(before, after, strict=True)
    ]


def _compare_means(
    metric: str, unit: str, before: dict[str, float], after: dict[str, float], rng: np.random.Generator
) -> Metric:
    subjects = sorted(before.keys() & after.keys())
    values = subtract_paired([after[subject] for subject in subjects], [before[subject] for subject in subjects])
    return mean_metric(metric, unit, values, subjects, rng)


def _list_means(checks: Sequence[PhysicsCheck]) -> list[tuple[str, str, dict[str, float]]]:
    """Name, unit and one value a subject of every mean; of a drift its size."""
    means = []
    for metric, kind, name, unit in _MEANS:
        values = _read(checks, kind, name)
        if kind == "energy-drift":
            values = {subject: abs(value) for subject, value in values.items()}
        means.append((metric, unit, values))
    return means


def _list_rates(checks: Sequence[PhysicsCheck]) -> list[tuple[str, dict[str, float]]]:
    flips = _read(checks, "volume-curve", "energy_flips")
    reaches = _read(checks, "repulsion", "repulsive_down_to_ang")
    return [
        ("volume_curve_smooth_rate", {subject: float(n == 0) for subject, n in flips.items()}),
        ("repulsive_rate", {subject: float(reach <= _PRESSED_ANG) for subject, reach in reaches.items()}),
    ]


def _read(checks: Sequence[PhysicsCheck], kind: str, name: str) -> dict[str, float]:
    """Values of one number by subject; what failed has none."""
    return {
        check.subject: check.value
        for check in checks
        if (check.kind, check.name) == (kind, name) and check.value is not None
    }


def _largest(name: str, unit: str, values: Sequence[float]) -> Metric:
    return Metric(name, max(values, default=None), unit, len(values))
