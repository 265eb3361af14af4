"""Structures as torch-sim's batched state, whose cells are column vectors (ours, like ASE's, are rows)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch_sim
from ase.data import atomic_masses, atomic_numbers

from heo_core.records import Structure


def to_sim_state(structures: Sequence[Structure], *, device: str, dtype: str) -> torch_sim.SimState:
    """One state of S systems and N atoms in all, periodic in three directions; dtype is float32 or float64."""
    options = {"device": torch.device(device), "dtype": getattr(torch, dtype)}
    numbers = np.array([atomic_numbers[symbol] for structure in structures for symbol in structure.species])
    counts = [structure.n_atoms for structure in structures]
    return torch_sim.SimState(
        positions=torch.as_tensor(np.concatenate([structure.positions for structure in structures]), **options),
        masses=torch.as_tensor(atomic_masses[numbers], **options),
        cell=torch.as_tensor(np.stack([structure.lattice.T for structure in structures]), **options),
        pbc=True,
        atomic_numbers=torch.as_tensor(numbers, device=options["device"]),
        system_idx=torch.as_tensor(np.repeat(np.arange(len(counts)), counts), device=options["device"]),
    )
