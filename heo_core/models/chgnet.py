"""The CHGNet family, through its ASE calculator. chgnet is imported here only.

Its energies carry the MP2020 corrections (about 0.6 eV/atom below the uncorrected scale of MACE on these oxides), and
it computes in float32.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chgnet
import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import chemical_symbols
from chgnet.model import CHGNet
from chgnet.model.dynamics import CHGNetCalculator
from chgnet.model.model import BatchedGraph
from pymatgen.io.ase import AseAtomsAdaptor

from heo_core.errors import ModelError
from heo_core.models.foundations import FOUNDATIONS
from heo_core.models.potential import Potential
from heo_core.records import ModelFile, Prediction, Structure

_VERSION = "0.3.0"
_N_ELEMENTS = 94  # hydrogen to plutonium


class ChgnetPotential(Potential):
    """CHGNet 0.3.0, one structure at a time."""

    family = "chgnet"

    def __init__(self, model: ModelFile, *, device: str) -> None:
        super().__init__(model, device=device, dtype="float32")
        _check_weights(model)
        self._calculator = self.as_ase_calculator()

    def as_ase_calculator(self) -> CHGNetCalculator:
        """Return CHGNet's own calculator; an atom without neighbours is an error, not a warning."""
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its device and its size
            model = CHGNet.load(model_name=_VERSION, use_device=self.device, verbose=False).eval()
            model.requires_grad_(requires_grad=False)
            return _Calculator(model, use_device=self.device, on_isolated_atoms="error")

    def _predict_batch(self, structures: Sequence[Structure]) -> list[Prediction]:
        return [self._predict_one(structure) for structure in structures]

    def _predict_one(self, structure: Structure) -> Prediction:
        atoms = Atoms(structure.species, positions=structure.positions, cell=structure.lattice, pbc=True)
        atoms.calc = self._calculator
        return Prediction(
            energy_ev=float(atoms.get_potential_energy()),
            forces_ev_per_ang=np.asarray(atoms.get_forces(), dtype=np.float64),
            stress_ev_per_ang3=np.asarray(atoms.get_stress(voigt=False), dtype=np.float64),
        )


class _Calculator(CHGNetCalculator):  # type: ignore[misc]
    """CHGNet's energy, forces and stress by one backward pass.

    CHGNet's own calculator takes one pass for the forces and one for the stress, and keeps what a training would
    need of both: with the same numbers it takes twice as long.
    """

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        with warnings.catch_warnings():
            # torch's remark on how CHGNet reads a volume.
            warnings.filterwarnings("ignore", "Converting a tensor with requires_grad=True to a scalar", UserWarning)
            if "magmoms" in (properties or ()):
                super().calculate(atoms, properties, system_changes, **kwargs)
            else:
                Calculator.calculate(self, atoms, properties, system_changes or all_changes)
                self.results = self._compute(atoms)

    def _compute(self, atoms: Atoms | None) -> dict[str, Any]:
        model = self.model
        graph = model.graph_converter(AseAtomsAdaptor.get_structure(atoms)).to(self.device)
        batch = BatchedGraph.from_graphs(
            [graph],
            bond_basis_expansion=model.bond_basis_expansion,
            angle_basis_expansion=model.angle_basis_expansion,
            compute_stress=True,
        )
        per_atom = model._compute(batch)["e"]  # noqa: SLF001 - its public methods take two passes
        (positions,), (strain,) = batch.atom_positions, batch.strains
        gradient, virial = torch.autograd.grad(per_atom.sum() * len(positions), [positions, strain])
        energy = float((per_atom + model.composition_model([graph])).sum()) * len(positions)
        return {
            "energy": energy,
            "free_energy": energy,
            "forces": -gradient.cpu().numpy(),
            "stress": (virial / batch.volumes[0].abs()).cpu().numpy(),  # below zero in a left-handed cell
        }


def resolve_chgnet() -> ModelFile:
    """CHGNet 0.3.0, whose weights are part of the package."""
    path = _find_weights()
    foundation = FOUNDATIONS[f"chgnet:{_VERSION}"]
    return ModelFile(
        family="chgnet",
        reference=foundation.reference,
        path=str(path),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        elements=tuple(chemical_symbols[1 : _N_ELEMENTS + 1]),
        licence=foundation.licence,
        energy_scale=foundation.energy_scale,
    )


def describe_chgnet(model: ModelFile) -> dict[str, Any]:
    """See `heo_core.models.describe`."""
    _check_weights(model)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its size
        network = CHGNet.load(model_name=_VERSION, use_device="cpu", verbose=False)
    return {
        "n_parameters": sum(parameter.numel() for parameter in network.parameters()),
        "elements": list(model.elements),
        "r_max_ang": float(network.graph_converter.atom_graph_cutoff),
        "dtype": "float32",
        "e0s": _read_e0s(network),
        "heads": ["Default"],
    }


def _read_e0s(network: Any) -> dict[str, float]:
    """Energies that CHGNet adds for each atom of an element, eV."""
    per_element = network.composition_model.fc.weight.flatten().tolist()
    return dict(zip(chemical_symbols[1 : _N_ELEMENTS + 1], per_element, strict=True))


def _find_weights() -> Path:
    found = sorted((Path(chgnet.__file__).parent / "pretrained" / _VERSION).glob("*.tar"))
    if len(found) != 1:
        raise ModelError(f"the installed chgnet package holds no weights of {_VERSION}")
    return found[0]


def _check_weights(model: ModelFile) -> None:
    path = _find_weights()
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != model.sha256:
        raise ModelError(
            f"{path} is not the file that was registered as {model.reference}: sha256 {found}, expected {model.sha256}"
        )
