"""Train the network of heo-mini from scratch: a plain loop over MACE's own modules.

`mace_run_train` serves finetuning. For a small network that starts from nothing, three things brought more than its
options do: a Huber loss that is quadratic up to `force_delta` (MACE's universal loss is nearly an absolute error), a
learning rate three times as high that falls in a straight line to zero, and the first interaction block that spends no
weights on pairs of element and direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mace  # noqa: F401  # before e3nn, whose constants torch loads only as mace tells it to
import numpy as np
import torch
from ase import Atoms
from e3nn import o3
from mace import modules
from mace.data import AtomicData, KeySpecification, config_from_atoms
from mace.tools import AtomicNumberTable, torch_geometric

ARCHITECTURE = {
    "model": "ScaleShiftMACE",
    "interaction": "RealAgnosticResidualInteractionBlock",
    "hidden_irreps": "32x0e + 32x1o",
    "max_ell": 2,
    "correlation": 2,
    "num_interactions": 2,
    "r_max": 4.5,
    "radial_MLP": [32, 32],
}
OPTIMISATION = {
    "optimizer": "Adam (amsgrad)",
    "lr": 0.03,
    "schedule": "linear to zero, after 2 % of warm-up",
    "atoms_per_batch": 480,
    "ema_decay": 0.999,
    "loss": "Huber, each divided by its delta",
    "energy_weight": 4,
    "forces_weight": 10,
    "stress_weight": 10,
    "energy_delta_ev_per_atom": 0.02,
    "force_delta_ev_per_ang": 0.1,
    "stress_delta_ev_per_ang3": 0.02,
}
WARM_UP = 0.02
MAX_GRADIENT_NORM = 10.0
E0_RIDGE = 0.1

KEYS = KeySpecification(
    info_keys={"energy": "REF_energy", "stress": "REF_stress"}, arrays_keys={"forces": "REF_forces"}
)


def build_network(cells: Sequence[AtomicData], elements: Sequence[int]) -> modules.ScaleShiftMACE:
    """Return an untrained network; E0s, scale and mean number of neighbours are those of the cells."""
    block = modules.interaction_classes[ARCHITECTURE["interaction"]]
    n_atoms = sum(len(cell.positions) for cell in cells)
    forces = torch.cat([cell.forces for cell in cells])
    return modules.ScaleShiftMACE(
        r_max=ARCHITECTURE["r_max"],
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=ARCHITECTURE["max_ell"],
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=ARCHITECTURE["num_interactions"],
        num_elements=len(elements),
        hidden_irreps=o3.Irreps(ARCHITECTURE["hidden_irreps"]),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=fit_e0s(cells),
        avg_num_neighbors=sum(cell.edge_index.shape[1] for cell in cells) / n_atoms,
        atomic_numbers=list(elements),
        correlation=ARCHITECTURE["correlation"],
        radial_MLP=ARCHITECTURE["radial_MLP"],
        radial_type="bessel",
        atomic_inter_scale=float(forces.pow(2).mean().sqrt()),
        atomic_inter_shift=0.0,
    )


def fit_e0s(cells: Sequence[AtomicData]) -> np.ndarray:
    """Energies of the elements (eV) by a ridge fit of energies per atom against composition."""
    counts = np.array([cell.node_attrs.sum(dim=0).numpy() for cell in cells])
    n_atoms = counts.sum(axis=1)
    energies = np.array([float(cell.energy) for cell in cells]) / n_atoms
    fractions = counts / n_atoms[:, None]
    gram = fractions.T @ fractions + E0_RIDGE * np.eye(counts.shape[1])
    return np.linalg.solve(gram, fractions.T @ (energies - energies.mean())) + energies.mean()


def to_graphs(
    cells: Sequence[Atoms], elements: Sequence[int], cutoff: float = ARCHITECTURE["r_max"]
) -> list[AtomicData]:
    """MACE's graphs of cells with their reference labels."""
    table = AtomicNumberTable(list(elements))
    return [
        AtomicData.from_config(config_from_atoms(atoms, key_specification=KEYS), z_table=table, cutoff=cutoff)
        for atoms in cells
    ]


def compute_loss(batch: Any, output: dict[str, torch.Tensor]) -> torch.Tensor:
    """Huber losses of energy per atom, force and stress components, weighted."""
    n_atoms = batch.ptr[1:] - batch.ptr[:-1]
    terms = (
        ("energy_weight", "energy_delta_ev_per_atom", (batch.energy - output["energy"]) / n_atoms),
        ("forces_weight", "force_delta_ev_per_ang", batch.forces - output["forces"]),
        ("stress_weight", "stress_delta_ev_per_ang3", batch.stress - output["stress"]),
    )
    total = torch.zeros((), device=batch.energy.device)
    for weight, delta, error in terms:
        width = OPTIMISATION[delta]
        huber = torch.nn.functional.huber_loss(error, torch.zeros_like(error), delta=width)
        total = total + OPTIMISATION[weight] * huber / width
    return 0.01 * total


def make_batches(graphs: Sequence[AtomicData], rng: np.random.Generator) -> list[list[int]]:
    """Put the graphs into random order and cut it into batches of as many atoms as a step takes, or fewer."""
    batches, room = [], 0
    for i in rng.permutation(len(graphs)):
        n_atoms = len(graphs[i].positions)
        if n_atoms > room:
            batches.append(list[int]())
            room = OPTIMISATION["atoms_per_batch"]
        batches[-1].append(int(i))
        room -= n_atoms
    return batches


def validate(network: torch.nn.Module, graphs: Sequence[AtomicData]) -> str:
    """RMSE of forces and of energies per atom, in words."""
    squares, device = [], next(network.parameters()).device
    for loaded in torch_geometric.dataloader.DataLoader(list(graphs), batch_size=16, shuffle=False):
        batch = loaded.to(device)
        output = network(batch.to_dict(), compute_stress=False)
        per_atom = (output["energy"] - batch.energy) / (batch.ptr[1:] - batch.ptr[:-1])
        squares.append((per_atom.detach() ** 2, (output["forces"] - batch.forces).detach().ravel() ** 2))
    energy, forces = (1e3 * float(torch.cat(parts).mean().sqrt()) for parts in zip(*squares, strict=True))
    return f"forces {forces:.1f} meV/Å, energy {energy:.1f} meV/atom"


def train_network(
    train: Sequence[Atoms], valid: Sequence[Atoms], elements: Sequence[int], *, epochs: float, seed: int, out: Path
) -> None:
    """Train for so many passes over the cells and write the network with its averaged weights (EMA)."""
    torch.manual_seed(seed)
    torch.set_default_dtype(torch.float32)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    graphs, watched = to_graphs(train, elements), to_graphs(valid, elements)
    network = build_network(graphs, elements).to(device)
    parameters = list(network.parameters())
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(OPTIMISATION["ema_decay"])
    )
    optimizer = torch.optim.Adam(parameters, lr=OPTIMISATION["lr"], amsgrad=True)
    rng, batches, n_seen = np.random.default_rng(seed), list[list[int]](), 0
    while (done := n_seen / (epochs * len(graphs))) < 1:
        if not batches:
            batches = make_batches(graphs, rng)
            print(f"{n_seen / len(graphs):.0f} passes: {validate(average, watched)}", flush=True)
        chosen = batches.pop()
        n_seen += len(chosen)
        batch = torch_geometric.Batch.from_data_list([graphs[i] for i in chosen]).to(device)
        optimizer.param_groups[0]["lr"] = OPTIMISATION["lr"] * min(1.0, done / WARM_UP) * (1 - done)
        optimizer.zero_grad()
        compute_loss(batch, network(batch.to_dict(), training=True, compute_stress=True)).backward()
        torch.nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
        optimizer.step()
        average.update_parameters(network)
    print(f"end: {validate(average, watched)}", flush=True)
    torch.save(average.module.to("cpu"), out)
