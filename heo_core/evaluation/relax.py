"""Relax many structures with one potential; each result comes out the moment it is done.

Potentials that torch-sim serves are relaxed side by side: torch-sim's step functions move every cell of the batch, our
own judge looks at each cell after every step, takes it out when it has converged, failed or used up its force calls,
and the next structure comes in. The other potentials go through ASE, one by one, under the same judge.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.neighborlist import primitive_neighbor_list
from ase.optimize import FIRE, LBFGS

from heo_core.models.potential import MODEL_ERRORS, Potential, describe_error
from heo_core.params import RelaxParams
from heo_core.records import Array, Relaxation, Structure

if TYPE_CHECKING:
    from torch_sim.models.interface import ModelInterface

    from heo_core.evaluation.batched_optimizer import BatchedOptimizer

_MIN_DISTANCE_ANG = 0.5  # closer atoms overlap: no bond is shorter, and potentials are not trained there
_MAX_FORCE_EV_PER_ANG = 1e3
_VOLUME_RATIOS = (0.5, 2.0)


def relax_structures(
    potential: Potential, structures: Sequence[Structure], params: RelaxParams
) -> Iterator[tuple[int, Relaxation]]:
    """Yield (index into structures, result) for each structure as soon as it is done, in no particular order.

    Computes in the precision of the potential. A structure that fails has its reason in `failure` and leaves the others
    as they are: unknown element, atoms that overlap, numbers that are not finite, an exploding or collapsing cell, an
    error of the model, or "not converged in N force calls" (with its last state).
    """
    sound: list[_Run] = []
    for index, structure in enumerate(structures):
        run = _Run(index, structure, params)
        obstacle = potential.find_obstacle(structure) or _find_overlap(structure.lattice, structure.positions)
        if obstacle is None:
            sound.append(run)
        else:
            yield index, run.fail(obstacle)
    model = potential.as_torch_sim_model()
    if model is None:
        yield from _relax_with_ase(potential, sound, params)
    else:
        # Largest first: torch-sim pads the L-BFGS history at its end, where the cell's rows stand, so no later
        # structure may be larger.
        queue = deque(sorted(sound, key=lambda run: -run.structure.n_atoms))
        yield from _relax_side_by_side(model, queue, params)


@dataclass(frozen=True)
class _Frame:
    """One evaluated state: forces (n_atoms, 3), stress (3, 3), lattice (3, 3) in rows, positions (n_atoms, 3)."""

    energy_ev: float
    forces: Array
    stress: Array
    lattice: Array
    positions: Array

    @property
    def fmax(self) -> float:
        """Length of the largest force, eV/Å."""
        return float(np.linalg.norm(self.forces, axis=1).max())

    @property
    def volume(self) -> float:
        """Å³."""
        return float(abs(np.linalg.det(self.lattice)))

    @property
    def cell_fmax(self) -> float:
        """Largest row of V·stress/n_atoms, eV/Å: ASE's cell force at zero strain."""
        return float(np.linalg.norm(self.volume * self.stress / len(self.forces), axis=1).max())

    def is_finite(self) -> bool:
        """Whether every number is one."""
        return all(
            bool(np.isfinite(value).all())
            for value in (self.energy_ev, self.forces, self.stress, self.lattice, self.positions)
        )


@dataclass(eq=False)
class _Run:
    """One structure on its way, and what has been seen of it."""

    index: int
    structure: Structure
    params: RelaxParams
    force_calls: int = 0
    wall_s: float = 0.0
    energies_ev: list[float] = field(default_factory=list)
    fmaxes_ev_per_ang: list[float] = field(default_factory=list)
    last: _Frame | None = None

    def observe(self, frame: _Frame) -> Relaxation | None:
        """Take note of one more force call; return the result if the structure is done with it."""
        self.force_calls += 1
        if not frame.is_finite():
            return self.fail(f"energy, forces or stress are not finite numbers after {self.force_calls} force calls")
        self.last = frame
        self.energies_ev.append(frame.energy_ev)
        self.fmaxes_ev_per_ang.append(frame.fmax)
        if wreck := self._find_wreck(frame):
            return self.fail(wreck)
        converged = frame.fmax <= self.params.fmax and self._cell_fmax(frame) <= self.params.fmax
        if not converged and self.force_calls < self.params.max_force_calls:
            return None
        if overlap := _find_overlap(frame.lattice, frame.positions):
            return self.fail(overlap)
        return self.finish(None if converged else f"not converged in {self.force_calls} force calls")

    def fail(self, failure: str) -> Relaxation:
        """Return a result without a final state: what an average must not see."""
        self.last = None
        return self.finish(failure)

    def finish(self, failure: str | None) -> Relaxation:
        """Return the result as it stands; converged means without failure."""
        last = self.last
        return Relaxation(
            converged=failure is None,
            failure=failure,
            force_calls=self.force_calls,
            wall_s=self.wall_s,
            energy_initial_ev=self.energies_ev[0] if self.energies_ev else None,
            energy_final_ev=last.energy_ev if last else None,
            fmax_ev_per_ang=last.fmax if last else None,
            cell_fmax_ev_per_ang=self._cell_fmax(last) if last else None,
            lattice=last.lattice if last else None,
            positions=last.positions if last else None,
            stress_ev_per_ang3=last.stress if last else None,
            energies_ev=tuple(self.energies_ev),
            fmaxes_ev_per_ang=tuple(self.fmaxes_ev_per_ang),
        )

    def _cell_fmax(self, frame: _Frame) -> float:
        return 0.0 if self.params.cell_filter == "none" else frame.cell_fmax

    def _find_wreck(self, frame: _Frame) -> str | None:
        ratio = frame.volume / self.structure.volume_ang3
        if frame.fmax > _MAX_FORCE_EV_PER_ANG:
            return f"exploded: a force of {frame.fmax:.3g} eV/Å after {self.force_calls} force calls"
        if not _VOLUME_RATIOS[0] <= ratio <= _VOLUME_RATIOS[1]:
            verb = "collapsed" if ratio < 1 else "exploded"
            return f"{verb}: {ratio:.2f} times the start volume after {self.force_calls} force calls"
        return None


def _find_overlap(lattice: Array, positions: Array) -> str | None:
    """Say the smallest distance, periodic images included, if it is below what is allowed."""
    distances = primitive_neighbor_list("d", [True] * 3, lattice, positions, _MIN_DISTANCE_ANG)
    if len(distances) == 0:
        return None
    return f"atoms overlap: {distances.min():.3f} Å apart; {_MIN_DISTANCE_ANG} Å or more is allowed"


def _relax_side_by_side(
    model: ModelInterface, queue: deque[_Run], params: RelaxParams
) -> Iterator[tuple[int, Relaxation]]:
    """Relax a queue with a torch-sim model, at most max_atoms_per_batch atoms (or one structure) at a time."""
    from heo_core.evaluation import batched_optimizer

    optimizer = batched_optimizer.BatchedOptimizer(model, params)
    running: list[_Run] = []
    while queue or running:
        fresh = _take_fitting(queue, running, params.max_atoms_per_batch)
        evaluated = fresh or running
        start = time.perf_counter()
        try:
            frames = _evaluate(optimizer, fresh)[-len(evaluated) :]
            _check_finite(frames)
        except MODEL_ERRORS as exc:
            running = running if fresh else []
            optimizer.keep(range(len(running)))
            yield from _retry_alone(model, evaluated, params, exc)
            continue
        seconds_per_atom = (time.perf_counter() - start) / sum(run.structure.n_atoms for run in evaluated)
        running = running + fresh
        ongoing = list(range(len(running) - len(evaluated)))
        done: list[tuple[int, Relaxation]] = []
        for position, run, frame in zip(range(len(ongoing), len(running)), evaluated, frames, strict=True):
            run.wall_s += seconds_per_atom * run.structure.n_atoms
            result = run.observe(frame)
            if result is None:
                ongoing.append(position)
            else:
                done.append((run.index, result))
        optimizer.keep(ongoing)
        running = [running[position] for position in ongoing]
        yield from done


def _evaluate(optimizer: BatchedOptimizer, fresh: list[_Run]) -> list[_Frame]:
    """Evaluate the fresh structures at their start, or move all; return the state of every structure in the batch."""
    if fresh:
        optimizer.add([run.structure for run in fresh])
    else:
        optimizer.step()
    return [_Frame(*values) for values in optimizer.read()]


def _check_finite(frames: list[_Frame]) -> None:
    """Raise FloatingPointError if a number is not finite: it spreads, and no other of the batch is to be trusted."""
    if len(frames) > 1 and not all(frame.is_finite() for frame in frames):
        raise FloatingPointError("energy, forces or stress in a batch are not finite numbers")


def _take_fitting(queue: deque[_Run], running: list[_Run], max_atoms: int) -> list[_Run]:
    """Take from the queue what still fits beside the running structures; one that is too large runs alone."""
    n_atoms = sum(run.structure.n_atoms for run in running)
    taken: list[_Run] = []
    while queue and (n_atoms == 0 or n_atoms + queue[0].structure.n_atoms <= max_atoms):
        taken.append(queue.popleft())
        n_atoms += taken[-1].structure.n_atoms
    return taken


def _retry_alone(
    model: ModelInterface, failed: list[_Run], params: RelaxParams, exc: Exception
) -> Iterator[tuple[int, Relaxation]]:
    """Relax each structure of a batch that raised by itself, from its start; what raises by itself has failed."""
    if len(failed) == 1:
        yield failed[0].index, failed[0].fail(describe_error(exc))
        return
    for run in failed:
        alone = _Run(run.index, run.structure, params, wall_s=run.wall_s)
        yield from _relax_side_by_side(model, deque([alone]), params)


def _relax_with_ase(potential: Potential, runs: list[_Run], params: RelaxParams) -> Iterator[tuple[int, Relaxation]]:
    """Relax one structure after the other with ASE's optimisers."""
    calculator = potential.as_ase_calculator()
    for run in runs:
        atoms = Atoms(run.structure.species, positions=run.structure.positions, cell=run.structure.lattice, pbc=True)
        atoms.calc = calculator
        target = FrechetCellFilter(atoms) if params.cell_filter == "frechet" else atoms
        optimizer = {"lbfgs": LBFGS, "fire": FIRE}[params.optimizer](target, logfile=None)
        result: Relaxation | None = None
        while result is None:
            start = time.perf_counter()
            try:
                if run.force_calls:
                    optimizer.step()
                frame = _read_atoms(atoms)
            except MODEL_ERRORS as exc:
                result = run.fail(describe_error(exc))
            else:
                run.wall_s += time.perf_counter() - start
                result = run.observe(frame)
        yield run.index, result


def _read_atoms(atoms: Atoms) -> _Frame:
    """Compute one state; ASE keeps the numbers, so that the optimiser's next step costs no second force call."""
    return _Frame(
        energy_ev=float(atoms.get_potential_energy()),
        forces=np.asarray(atoms.get_forces(), dtype=np.float64),
        stress=np.asarray(atoms.get_stress(voigt=False), dtype=np.float64),
        lattice=np.array(atoms.cell),
        positions=atoms.get_positions(),
    )
