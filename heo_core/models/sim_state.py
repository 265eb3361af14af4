"""Structures as torch-sim's batched state, whose cells are column vectors (ours, like ASE's, are rows)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from ase.data import atomic_masses, atomic_numbers
from matscipy.neighbours import neighbour_list  # type: ignore[import-untyped]

from heo_core.records import Prediction, Structure

with warnings.catch_warnings():  # torch's word to torch-sim's authors
    warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", FutureWarning)
    import torch_sim
    from torch_sim.models.interface import ModelInterface


def to_sim_state(structures: Sequence[Structure], *, device: str, dtype: str) -> torch_sim.SimState:
    """One state of S systems and N atoms in all, periodic in three directions; dtype is float32 or float64.

    torch-sim's cell forces have the wrong sign in a left-handed cell: such a lattice is inverted, which leaves the
    crystal as it is.
    """
    options = {"device": torch.device(device), "dtype": getattr(torch, dtype)}
    numbers = np.array([atomic_numbers[symbol] for structure in structures for symbol in structure.species])
    counts = [structure.n_atoms for structure in structures]
    return torch_sim.SimState(
        positions=torch.as_tensor(np.concatenate([structure.positions for structure in structures]), **options),
        masses=torch.as_tensor(atomic_masses[numbers], **options),
        cell=torch.as_tensor(
            np.stack([structure.lattice.T * handedness(structure) for structure in structures]), **options
        ),
        pbc=True,
        atomic_numbers=torch.as_tensor(numbers, device=options["device"]),
        system_idx=torch.as_tensor(np.repeat(np.arange(len(counts)), counts), device=options["device"]),
    )


def predict_batch(
    model: ModelInterface, structures: Sequence[Structure], *, device: str, dtype: str
) -> list[Prediction]:
    """Energy, forces and stress of each structure, all in one pass of the model."""
    output = model(to_sim_state(structures, device=device, dtype=dtype))
    energies, forces, stresses = (
        output[name].cpu().numpy().astype(np.float64) for name in ("energy", "forces", "stress")
    )
    ends = np.cumsum([structure.n_atoms for structure in structures])
    per_structure = zip(energies, np.split(forces, ends[:-1]), stresses, strict=True)
    return [Prediction(float(energy), force, stress) for energy, force, stress in per_structure]


def handedness(structure: Structure) -> float:
    """1 if the lattice vectors are right-handed, -1 if they are left-handed."""
    return float(np.sign(np.linalg.det(structure.lattice)))


def find_neighbors(
    positions: torch.Tensor, cell: torch.Tensor, pbc: torch.Tensor, cutoff: float, system_idx: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pairs within the cutoff, on the CPU: matscipy's list, the one of MACE's own calculator.

    torch-sim's default compiles its kernel for seconds when it is first called, to save about a millisecond a call.
    positions (N, 3) Å, cell (S, 3, 3) in rows, pbc (3,) or (S, 3). Returns pairs (2, E), the system of each (E,) and
    its lattice shift (E, 3). FloatingPointError if a number is not finite.
    """
    points, cells = positions.detach().double().numpy(), cell.detach().double().numpy()
    if not (np.isfinite(points).all() and np.isfinite(cells).all()):
        raise FloatingPointError("positions or lattice are not finite numbers")
    periodic = pbc.expand(len(cells), 3).numpy()
    pairs, owners, shifts = [], [], []
    start = 0
    for system, count in enumerate(torch.bincount(system_idx).tolist()):
        own = np.ascontiguousarray(points[start : start + count])
        first, second, shift = neighbour_list(
            "ijS", cutoff=float(cutoff), positions=own, cell=cells[system], pbc=periodic[system]
        )
        pairs.append(start + np.stack([first, second]))
        owners.append(np.full(len(first), system))
        shifts.append(shift)
        start += count
    return (
        torch.as_tensor(np.concatenate(pairs, axis=1), dtype=torch.long),
        torch.as_tensor(np.concatenate(owners), dtype=torch.long),
        torch.as_tensor(np.concatenate(shifts), dtype=positions.dtype),
    )
