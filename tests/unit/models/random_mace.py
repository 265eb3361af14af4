"""Small MACE models of random weights, of the kinds that MACE has published."""

import warnings

import numpy as np
import torch


def make_mace(**changes):
    """A small MACE model of oxygen, magnesium and nickel, as mace-torch builds it, with random weights."""
    from e3nn import o3
    from mace import modules

    residual = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    options = {
        "r_max": 4.5,
        "num_bessel": 8,
        "num_polynomial_cutoff": 5,
        "max_ell": 2,
        "interaction_cls": residual,
        "interaction_cls_first": residual,
        "num_interactions": 2,
        "num_elements": 3,
        "hidden_irreps": o3.Irreps("8x0e + 8x1o"),
        "MLP_irreps": o3.Irreps("8x0e"),
        "atomic_energies": np.array([-1.0, -2.0, -3.0]),
        "avg_num_neighbors": 20.0,
        "atomic_numbers": [8, 12, 28],
        "correlation": 3,
        "gate": torch.nn.functional.silu,
        "radial_MLP": [16, 16],
        "atomic_inter_scale": 1.0,
        "atomic_inter_shift": 0.0,
    } | changes
    torch.manual_seed(0)
    with warnings.catch_warnings(action="ignore"):  # torch's, of how MACE and e3nn are written
        return modules.ScaleShiftMACE(**options)


def find_blocks(first, later):
    from mace import modules

    return {
        "interaction_cls_first": modules.interaction_classes[f"RealAgnostic{first}InteractionBlock"],
        "interaction_cls": modules.interaction_classes[f"RealAgnostic{later}InteractionBlock"],
    }


TWO_HEADS = {
    "atomic_energies": np.array([[-1.0, -2.0, -3.0], [-1.5, -2.5, -3.5]]),
    "atomic_inter_scale": [1.0, 1.0],
    "atomic_inter_shift": [0.0, 0.0],
}

OPTIONS = {
    "of MACE-MP-0": lambda: find_blocks("", "Residual"),
    "of MPA-0, OMAT-0 and MatPES": lambda: {
        **find_blocks("Density", "DensityResidual"),
        "distance_transform": "Agnesi",
        "pair_repulsion": True,
    },
    "of heo-mini": lambda: {"distance_transform": "Agnesi", "pair_repulsion": True},
    "soft transform, gaussian basis": lambda: {"distance_transform": "Soft", "radial_type": "gaussian"},
    "chebyshev basis": lambda: {"radial_type": "chebyshev"},
    "replay": lambda: {**TWO_HEADS, "heads": ["pt_head", "Default"]},
}
