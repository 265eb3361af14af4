"""torch-sim's optimisers over a batch whose members come and go."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch_sim
from torch_sim.autobatching import determine_max_batch_size
from torch_sim.models.interface import ModelInterface
from torch_sim.optimizers.state import FireState, LBFGSState, OptimState
from torch_sim.state import SimState

from heo_core.models.sim_state import handedness, to_sim_state
from heo_core.params import RelaxParams
from heo_core.records import Array, Structure

_START_STIFFNESS = 30.0  # eV/Å²; ASE's first guess is 70


class BatchedOptimizer:
    """Moves S structures side by side; each is evaluated exactly once in `add` and once in each `step`."""

    def __init__(self, model: ModelInterface, params: RelaxParams) -> None:
        self._model = model
        self._state: OptimState = None  # as long as the batch is empty
        self._handedness: list[float] = []
        options: dict[str, Any] = {}
        if params.cell_filter != "none":
            is_hydrostatic = params.cell_filter == "hydrostatic"
            options = {"cell_filter": torch_sim.CellFilter.frechet, "hydrostatic_strain": is_hydrostatic}
        self._init, self._step = {"lbfgs": _lbfgs, "bfgs": _bfgs, "fire": _fire}[params.optimizer](options)

    def add(self, structures: Sequence[Structure]) -> None:
        """Evaluate structures and append them; none may be larger than the largest that began the batch.

        For BFGS all must be of one size.
        """
        start = to_sim_state(
            structures, device=self._model.device.type, dtype=str(self._model.dtype).removeprefix("torch.")
        )
        fresh = self._init(start, _CallOnce(self._model))
        self._state = fresh if self._state is None else torch_sim.concatenate_states([self._state, fresh])
        self._handedness += [handedness(structure) for structure in structures]

    def step(self) -> None:
        """Move every structure once and evaluate it there."""
        self._state = self._step(self._state, self._model)

    def read(self) -> Iterator[tuple[float, Array, Array, Array, Array]]:
        """Energy, forces (n_atoms, 3), stress (3, 3), lattice in rows and positions (n_atoms, 3) of each structure."""
        state = self._state
        energies, forces, stresses, cells, positions = (
            value.detach().cpu().numpy().astype(np.float64)
            for value in (state.energy, state.forces, state.stress, state.row_vector_cell, state.positions)
        )
        ends = np.cumsum(state.n_atoms_per_system.cpu().numpy())[:-1]
        cells *= np.array(self._handedness)[:, None, None]
        per_structure = zip(energies, np.split(forces, ends), stresses, cells, np.split(positions, ends), strict=True)
        for energy, force, stress, cell, position in per_structure:
            yield float(energy), force, stress, cell, position

    def keep(self, positions: Sequence[int]) -> None:
        """Drop every structure of the batch but those at these positions."""
        self._handedness = [self._handedness[position] for position in positions]
        if not positions:
            self._state = None
        elif len(positions) < self._state.n_systems:
            self._state = self._state[list(positions)]


_Init = Callable[[SimState, "_CallOnce"], OptimState]
_Step = Callable[[OptimState, ModelInterface], OptimState]


class _CallOnce:
    """Answers its first question again: torch-sim's cell filters evaluate the start state a second time."""

    def __init__(self, model: ModelInterface) -> None:
        self._model = model
        self._answer: dict[str, torch.Tensor] | None = None
        self.device = model.device
        self.dtype = model.dtype

    def __call__(self, state: SimState) -> dict[str, torch.Tensor]:
        if self._answer is None:
            self._answer = self._model(state)
        return self._answer


def _fire(options: dict[str, Any]) -> tuple[_Init, _Step]:
    def init(start: SimState, model: _CallOnce) -> FireState:
        # torch-sim marks a new structure by NaN velocities and treats it differently when it joins others. At rest, a
        # structure halves its time step once: twice the time step at rest is the same start, whatever the batch.
        state = torch_sim.fire_init(start, model, dt_start=0.2, **options)
        state.velocities = torch.zeros_like(state.velocities)
        if options:
            state.cell_velocities = torch.zeros_like(state.cell_velocities)
        return state

    return init, torch_sim.fire_step


def _bfgs(options: dict[str, Any]) -> tuple[_Init, _Step]:
    return partial(_init_newton, torch_sim.bfgs_init, options), torch_sim.bfgs_step


def _lbfgs(options: dict[str, Any]) -> tuple[_Init, _Step]:
    return partial(_init_newton, partial(torch_sim.lbfgs_init, step_size=1.0), options), _lbfgs_step


def _init_newton[S: OptimState](
    init: Callable[..., S], options: dict[str, Any], start: SimState, model: _CallOnce
) -> S:
    if options:
        options = {**options, "cell_factor": compute_cell_factor(start.n_atoms_per_system.to(start.dtype))}
    return init(start, model, alpha=_START_STIFFNESS, **options)


def compute_cell_factor(n_atoms: torch.Tensor) -> torch.Tensor:
    """Å a unit of strain counts as, which makes a cell as stiff as an atom, so that one step suits both.

    An atom of these oxides has k of some 5 to 15 eV/Å², a cell V·C of about n_atoms · 10 Å³ · 1.2 eV/Å³: the square of
    the factor is near n_atoms. With ASE's and torch-sim's own factor, n_atoms, cells of 64 atoms stop earlier, with as
    many force calls, some 1.4 meV/atom higher (docs/performance.md).
    """
    return n_atoms.sqrt()


def _lbfgs_step(state: LBFGSState, model: ModelInterface) -> LBFGSState:
    """One step; the stiffness is what the last step showed, or the first guess where that showed none.

    A pair of the history along which the energy curves downwards would lead uphill: it is blanked, which torch-sim
    skips.
    """
    state = torch_sim.lbfgs_step(state, model)
    curves_up = (state.s_history[:, -1] * state.y_history[:, -1]).sum(dim=(1, 2)) > 0  # (S,)
    state.s_history[~curves_up, -1] = 0.0
    state.y_history[~curves_up, -1] = 0.0
    state.alpha = torch.where(curves_up, 0.0, _START_STIFFNESS).to(state.dtype)  # 0: from the history
    return state


def find_atoms_that_fit(model: ModelInterface, structure: Structure, max_atoms: int) -> int:
    """Atoms of copies of a structure that fit into the memory of the GPU, at most max_atoms; tries growing batches."""
    state = to_sim_state([structure], device=model.device.type, dtype=str(model.dtype).removeprefix("torch."))
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it tries
        copies = determine_max_batch_size(state, model, max_atoms=max_atoms)
    return int(copies * structure.n_atoms)
