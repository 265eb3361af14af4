"""Structures moved off their place. The results carry no labels: those belong to the geometry they came from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from heo_core.errors import InputError
from heo_core.records import Array, Structure


def remove_labels(structure: Structure) -> Structure:
    """Return the geometry alone: source "generated", no fingerprint, functional, energy, forces or stress."""
    return replace(
        structure,
        source="generated",
        functional=None,
        fingerprint=None,
        energy_ev=None,
        forces_ev_per_ang=None,
        stress_ev_per_ang3=None,
    )


def rattle(structure: Structure, sigma_ang: float, rng: np.random.Generator) -> Structure:
    """Move every atom along each Cartesian direction by normal noise of standard deviation sigma_ang, Å.

    The cell stays. The mean displacement is not removed. InputError if sigma_ang is negative or not finite.
    """
    if not (np.isfinite(sigma_ang) and sigma_ang >= 0):
        msg = f"rattle of {sigma_ang} Å; it must be a number >= 0"
        raise InputError(msg)
    noise = rng.normal(scale=sigma_ang, size=structure.positions.shape)
    return replace(remove_labels(structure), positions=structure.positions + noise)


def draw_strain(largest: float, rng: np.random.Generator) -> Array:
    """Draw a symmetric strain tensor (3, 3), each component evenly between -largest and largest."""
    tensor = rng.uniform(-largest, largest, size=(3, 3))
    return np.triu(tensor) + np.triu(tensor, k=1).T


def strain(structure: Structure, tensor: Array) -> Structure:
    """Deform cell and atoms together by a small-strain tensor (3, 3): every row vector v becomes v (1 + tensor).

    InputError if the tensor is not (3, 3) and finite, or turns the cell inside out (det(1 + tensor) <= 0).
    """
    if tensor.shape != (3, 3) or not np.isfinite(tensor).all() or np.linalg.det(np.eye(3) + tensor) <= 0:
        msg = f"strain {tensor.tolist()}; it must be a finite 3x3 tensor with det(1 + strain) > 0"
        raise InputError(msg)
    deformation = np.eye(3) + tensor
    return replace(
        remove_labels(structure), lattice=structure.lattice @ deformation, positions=structure.positions @ deformation
    )
