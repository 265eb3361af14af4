"""Relax many structures with one potential; each result comes out the moment it is done.

Potentials that torch-sim serves are relaxed side by side: torch-sim's step functions move every cell of the batch, our
own judge looks at each cell after every step, takes it out when it has converged, failed or used up its force calls,
and the next structure comes in. The other potentials go through ASE, one by one, under the same judge.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS
from matscipy.neighbours import neighbour_list  # type: ignore[import-untyped]

from heo_core.evaluation.metrics import displacement_rmsd, volume_change_fraction
from heo_core.models.potential import MODEL_ERRORS, Potential, describe_error
from heo_core.params import RelaxParams
from heo_core.records import Array, Frame, Relaxation, Structure

if TYPE_CHECKING:
    from torch_sim.models.interface import ModelInterface

_MIN_DISTANCE_ANG = 0.5  # closer atoms overlap: no bond is shorter, and potentials are not trained there
_MAX_FORCE_EV_PER_ANG = 1e3
_VOLUME_RATIOS = (0.5, 2.0)
_MAX_SEARCH_BINS = 1e6


def relax_structures(
    potential: Potential, structures: Sequence[Structure], params: RelaxParams
) -> Iterator[tuple[int, Relaxation]]:
    """Yield (index into structures, result) for each structure as soon as it is done, in no particular order.

    Computes in the precision of the potential; with dtype mixed, in float32 first. A structure that fails has its
    reason in `failure` and leaves the others as they are: unknown element, atoms that overlap, numbers that are not
    finite, an exploding or collapsing cell, an error of the model, or "not converged in N force calls" or seconds (with
    its last state).
    """
    sound: list[_Run] = []
    for index, structure in enumerate(structures):
        run = _Run(index, structure, params)
        obstacle = potential.find_obstacle(structure) or _find_overlap(structure.lattice, structure.positions)
        if obstacle is None:
            sound.append(run)
        else:
            yield index, run.fail(obstacle)
    single = potential.in_single_precision() if params.dtype == "mixed" else potential
    # One force call is kept for the judgement in double precision.
    draft = params.model_copy(update={"max_force_calls": params.max_force_calls - 1})
    if single is potential or draft.max_force_calls == 0:
        yield from _relax(potential, sound, params)
        return
    for run in sound:
        run.params = draft
    by_index = {run.index: run for run in sound}
    for index, result in _relax(single, sound, draft):
        run = by_index[index]
        if run.last is None:
            yield index, result
        else:
            run.begin_again(params)
            yield from _relax(potential, [run], params)


def _relax(potential: Potential, runs: Sequence[_Run], params: RelaxParams) -> Iterator[tuple[int, Relaxation]]:
    """Relax in the precision of the potential."""
    model = potential.as_torch_sim_model()
    if model is None or not runs:
        yield from _relax_with_ase(potential, runs, params)
        return
    max_atoms = params.max_atoms_per_batch or _choose_max_atoms(potential, model, runs)
    # Largest first: torch-sim pads the L-BFGS history at its end, where the cell's rows stand, so no later structure
    # may be larger.
    queue = deque(sorted(runs, key=lambda run: -run.structure.n_atoms))
    yield from _relax_side_by_side(model, queue, params, max_atoms)


def _choose_max_atoms(potential: Potential, model: ModelInterface, runs: Sequence[_Run]) -> int:
    """Atoms that are computed side by side when nobody says: measured speed on a CPU, measured memory on a GPU."""
    n_atoms = sum(run.structure.n_atoms for run in runs)
    if potential.device == "cpu" or len(runs) == 1:
        return min(potential.default_atoms_per_batch(), n_atoms)
    from heo_core.evaluation.batched_optimizer import find_atoms_that_fit

    densest = max(runs, key=lambda run: run.structure.n_atoms / run.structure.volume_ang3)
    try:
        return find_atoms_that_fit(model, densest.structure, n_atoms)
    except MODEL_ERRORS:
        # What is wrong with that structure becomes its own failure.
        return min(potential.default_atoms_per_batch(), n_atoms)


@dataclass(eq=False)
class _Run:
    """One structure on its way, and what has been seen of it. begin: the state that its optimiser began from."""

    index: int
    structure: Structure
    params: RelaxParams
    force_calls: int = 0
    wall_s: float = 0.0
    energies_ev: list[float] = field(default_factory=list)
    fmaxes_ev_per_ang: list[float] = field(default_factory=list)
    trajectory: list[Frame] = field(default_factory=list)
    last: Frame | None = None
    begin: Structure = field(init=False)
    calls_before: int = 0

    def __post_init__(self) -> None:
        self.begin = self.structure

    def begin_again(self, params: RelaxParams) -> None:
        """Let another optimiser go on from the last state."""
        if self.last is not None:
            self.begin = replace(self.structure, lattice=self.last.lattice, positions=self.last.positions)
        self.params, self.calls_before = params, self.force_calls

    def rewind(self) -> _Run:
        """Forget all since the optimiser began, but the seconds."""
        self.force_calls = self.calls_before
        for values in (self.energies_ev, self.fmaxes_ev_per_ang, self.trajectory):
            del values[self.calls_before :]
        return self

    def observe(self, frame: Frame) -> Relaxation | None:
        """Take note of one more force call; return the result if the structure is done with it."""
        self.force_calls += 1
        if not frame.is_finite():
            return self.fail(f"energy, forces or stress are not finite numbers after {self.force_calls} force calls")
        fmax = frame.fmax_ev_per_ang
        self.last = frame
        self.energies_ev.append(frame.energy_ev)
        self.fmaxes_ev_per_ang.append(fmax)
        if self.params.trajectory:
            self.trajectory.append(frame)
        if wreck := self._find_wreck(frame, fmax):
            return self.fail(wreck)
        converged = fmax <= self.params.fmax and self._compute_cell_fmax(frame) <= self.params.fmax
        if converged:
            return self.finish(None)
        if self.force_calls >= self.params.max_force_calls:
            return self.finish(f"not converged in {self.force_calls} force calls")
        if self.params.max_seconds is not None and self.wall_s >= self.params.max_seconds:
            return self.finish(f"not converged in {self.wall_s:.3g} s, {self.force_calls} force calls")
        return None

    def fail(self, failure: str) -> Relaxation:
        """Return a result without a final state: what an average must not see."""
        self.last = None
        return self.finish(failure)

    def finish(self, failure: str | None) -> Relaxation:
        """Return the result as it stands; converged means without failure."""
        last, start = self.last, self.structure
        moved = None
        if last is not None:
            moved = displacement_rmsd(last.positions, last.lattice, start.positions, start.lattice)
        return Relaxation(
            converged=failure is None,
            failure=failure,
            force_calls=self.force_calls,
            wall_s=self.wall_s,
            energy_initial_ev=self.energies_ev[0] if self.energies_ev else None,
            energy_final_ev=last.energy_ev if last else None,
            fmax_ev_per_ang=last.fmax_ev_per_ang if last else None,
            cell_fmax_ev_per_ang=self._compute_cell_fmax(last) if last else None,
            lattice=last.lattice if last else None,
            positions=last.positions if last else None,
            forces_ev_per_ang=last.forces_ev_per_ang if last else None,
            stress_ev_per_ang3=last.stress_ev_per_ang3 if last else None,
            energies_ev=tuple(self.energies_ev),
            fmaxes_ev_per_ang=tuple(self.fmaxes_ev_per_ang),
            displacement_rmsd_ang=moved,
            volume_change_fraction=volume_change_fraction(last.lattice, start.lattice) if last else None,
            trajectory=tuple(self.trajectory),
        )

    def _compute_cell_fmax(self, frame: Frame) -> float:
        """Largest row of V·stress/n_atoms, eV/Å: ASE's cell force at zero strain."""
        stress = {
            "frechet": frame.stress_ev_per_ang3,
            "hydrostatic": np.eye(3) * np.trace(frame.stress_ev_per_ang3) / 3,
            "none": np.zeros((3, 3)),
        }[self.params.cell_filter]
        return float(np.linalg.norm(frame.volume_ang3 * stress / len(frame.positions), axis=1).max())

    def _find_wreck(self, frame: Frame, fmax: float) -> str | None:
        ratio = frame.volume_ang3 / self.structure.volume_ang3
        if fmax > _MAX_FORCE_EV_PER_ANG:
            return f"exploded: a force of {fmax:.3g} eV/Å after {self.force_calls} force calls"
        if not _VOLUME_RATIOS[0] <= ratio <= _VOLUME_RATIOS[1]:
            verb = "collapsed" if ratio < 1 else "exploded"
            return f"{verb}: {ratio:.2f} times the start volume after {self.force_calls} force calls"
        overlap = _find_overlap(frame.lattice, frame.positions)
        return overlap and f"collapsed: {overlap} after {self.force_calls} force calls"


def _find_overlap(lattice: Array, positions: Array) -> str | None:
    """Say the smallest distance, periodic images included, if it is below what is allowed."""
    # matscipy fills a grid as fine as the cutoff, which must not fill the memory in a vast cell.
    reach = max(_MIN_DISTANCE_ANG, float(abs(np.linalg.det(lattice)) / _MAX_SEARCH_BINS) ** (1 / 3))
    distances = neighbour_list("d", cutoff=reach, positions=positions, cell=lattice, pbc=np.ones(3, dtype=bool))
    if len(distances) == 0 or distances.min() >= _MIN_DISTANCE_ANG:
        return None
    return f"atoms overlap: {distances.min():.3f} Å apart; {_MIN_DISTANCE_ANG} Å or more is allowed"


def _relax_side_by_side(
    model: ModelInterface, queue: deque[_Run], params: RelaxParams, max_atoms: int
) -> Iterator[tuple[int, Relaxation]]:
    """Relax a queue with a torch-sim model, at most max_atoms atoms (or one structure) at a time."""
    from heo_core.evaluation.batched_optimizer import BatchedOptimizer

    optimizer = BatchedOptimizer(model, params)
    running: list[_Run] = []
    while queue or running:
        fresh = _take_fitting(queue, running, params, max_atoms)
        evaluated = fresh or running
        start = time.perf_counter()
        try:
            if fresh:
                optimizer.add([run.begin for run in fresh])
            else:
                optimizer.step()
            frames = [Frame(*values) for values in optimizer.read()][-len(evaluated) :]
        except MODEL_ERRORS as exc:
            running = running if fresh else []
            optimizer.keep(range(len(running)))
            yield from _relax_in_halves(model, evaluated, params, max_atoms, describe_error(exc))
            continue
        seconds_per_atom = (time.perf_counter() - start) / sum(run.structure.n_atoms for run in evaluated)
        running = running + fresh
        ongoing = list(range(len(running) - len(evaluated)))
        done: list[tuple[int, Relaxation]] = []
        doubtful: list[_Run] = []
        for position, run, frame in zip(range(len(ongoing), len(running)), evaluated, frames, strict=True):
            run.wall_s += seconds_per_atom * run.structure.n_atoms
            if len(evaluated) > 1 and not frame.is_finite():
                doubtful.append(run)  # what is not finite may come from a neighbour in the batch
            elif (result := run.observe(frame)) is None:
                ongoing.append(position)
            else:
                done.append((run.index, result))
        optimizer.keep(ongoing)
        running = [running[position] for position in ongoing]
        yield from done
        for run in doubtful:
            yield from _relax_side_by_side(model, deque([run.rewind()]), params, max_atoms)


def _take_fitting(queue: deque[_Run], running: list[_Run], params: RelaxParams, max_atoms: int) -> list[_Run]:
    """Take from the queue what still fits beside the running structures; one that is too large runs alone."""
    n_atoms = sum(run.structure.n_atoms for run in running)
    taken: list[_Run] = []
    while queue and (n_atoms == 0 or n_atoms + queue[0].structure.n_atoms <= max_atoms):
        together = (running + taken)[:1]
        # torch-sim's BFGS leaves the cell of the smaller of two sizes where it is.
        if params.optimizer == "bfgs" and together and together[0].structure.n_atoms != queue[0].structure.n_atoms:
            break
        taken.append(queue.popleft())
        n_atoms += taken[-1].structure.n_atoms
    return taken


def _relax_in_halves(
    model: ModelInterface, failed: list[_Run], params: RelaxParams, max_atoms: int, reason: str
) -> Iterator[tuple[int, Relaxation]]:
    """Relax both halves of a batch that raised, from where they began; what raises by itself has failed."""
    if len(failed) == 1:
        yield failed[0].index, failed[0].fail(reason)
        return
    middle = len(failed) // 2
    for half in (failed[:middle], failed[middle:]):
        yield from _relax_side_by_side(model, deque(run.rewind() for run in half), params, max_atoms)


def _relax_with_ase(
    potential: Potential, runs: Sequence[_Run], params: RelaxParams
) -> Iterator[tuple[int, Relaxation]]:
    """Relax one structure after the other with ASE's optimisers."""
    import torch

    from heo_core.evaluation.batched_optimizer import compute_cell_factor

    calculator = potential.as_ase_calculator()
    for run in runs:
        atoms = Atoms(run.begin.species, positions=run.begin.positions, cell=run.begin.lattice, pbc=True)
        atoms.calc = calculator
        target = atoms
        if params.cell_filter != "none":
            factor = None if params.optimizer == "fire" else float(compute_cell_factor(torch.tensor(float(len(atoms)))))
            is_hydrostatic = params.cell_filter == "hydrostatic"
            target = FrechetCellFilter(atoms, hydrostatic_strain=is_hydrostatic, exp_cell_factor=factor)
        optimizer = {"lbfgs": LBFGS, "bfgs": BFGS, "fire": FIRE}[params.optimizer](target, logfile=None)
        result: Relaxation | None = None
        while result is None:
            start = time.perf_counter()
            try:
                if run.force_calls > run.calls_before:
                    optimizer.step()
                frame = _read_atoms(atoms)
            except MODEL_ERRORS as exc:
                result = run.fail(describe_error(exc))
            else:
                run.wall_s += time.perf_counter() - start
                result = run.observe(frame)
        yield run.index, result


def _read_atoms(atoms: Atoms) -> Frame:
    """Compute one state; ASE keeps the numbers, so that the optimiser's next step costs no second force call."""
    return Frame(
        energy_ev=float(atoms.get_potential_energy()),
        forces_ev_per_ang=np.asarray(atoms.get_forces(), dtype=np.float64),
        stress_ev_per_ang3=np.asarray(atoms.get_stress(voigt=False), dtype=np.float64),
        lattice=np.array(atoms.cell),
        positions=atoms.get_positions(),
    )
