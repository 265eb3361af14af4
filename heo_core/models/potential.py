"""What every model family offers once it is loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from heo_core.records import ModelFile, Prediction, Structure

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from torch_sim.models.interface import ModelInterface

# What a model's code raises on a structure it cannot handle (an out-of-memory error of torch is a RuntimeError).
MODEL_ERRORS = (RuntimeError, ValueError, LookupError, ArithmeticError)

# A cell out of these bounds is no crystal, and its neighbours would fill the memory.
_MAX_LENGTH_ANG = 1e6
_MIN_VOLUME_PER_ATOM_ANG3 = 0.5


class Potential(ABC):
    """A loaded model: energies in eV (total), forces in eV/Å, stresses in eV/Å³ with ASE's sign.

    reference: the name it was asked for by. elements: symbols that it knows. device: cpu or cuda. dtype: the precision
    it computes in. energy_scale: energies on different scales are never compared directly; None where nobody said.
    """

    family: str

    def __init__(self, model: ModelFile, *, device: str, dtype: str) -> None:
        self.reference = model.reference
        self.elements = model.elements
        self.device = device
        self.dtype = dtype
        self.energy_scale = model.energy_scale
        self._model_file = model

    @abstractmethod
    def as_ase_calculator(self) -> Calculator:
        """Return an ASE calculator of this model."""

    def as_torch_sim_model(self) -> ModelInterface | None:
        """Return torch-sim's ModelInterface of this model, or None where torch-sim does not serve the family."""
        return None

    def in_single_precision(self) -> Potential:
        """Return this potential in float32; itself if it computes in it, or in no other precision."""
        return self

    def predict(self, structures: Sequence[Structure], max_atoms_per_batch: int | None = None) -> list[Prediction]:
        """Energies, forces and stresses in the order of the structures; one that fails has its reason and no numbers.

        max_atoms_per_batch: atoms computed side by side; None leaves the choice to the family. A batch that raises, or
        in which a number is not finite, is computed again half by half, so that a bad structure never harms the others,
        and what does not fit into the memory is made smaller.
        """
        predictions: dict[int, Prediction] = {}
        sound: list[int] = []
        for index, structure in enumerate(structures):
            obstacle = self.find_obstacle(structure)
            if obstacle is None:
                sound.append(index)
            else:
                predictions[index] = Prediction(None, None, failure=obstacle)
        for batch in _split_batches(sound, structures, max_atoms_per_batch or self.default_atoms_per_batch()):
            results = self._predict_safely([structures[index] for index in batch])
            predictions.update(zip(batch, results, strict=True))
        return [predictions[index] for index in range(len(structures))]

    def find_obstacle(self, structure: Structure) -> str | None:
        """Why this model cannot even be asked about a structure; None if it can."""
        if structure.n_atoms == 0:
            return "no atoms"
        if unknown := self._model_file.unknown_elements(structure.species):
            return f"unknown element: {', '.join(unknown)}"
        if structure.positions.shape != (structure.n_atoms, 3) or structure.lattice.shape != (3, 3):
            return (
                f"{structure.n_atoms} species, but positions of shape {structure.positions.shape} "
                f"in a lattice of shape {structure.lattice.shape}"
            )
        numbers = np.concatenate([structure.positions, structure.lattice])
        if not (np.abs(numbers) <= _MAX_LENGTH_ANG).all():
            return f"positions or lattice are not finite numbers of at most {_MAX_LENGTH_ANG:g} Å"
        if structure.volume_ang3 < _MIN_VOLUME_PER_ATOM_ANG3 * structure.n_atoms:
            return (
                f"the cell has {structure.volume_ang3 / structure.n_atoms:.2g} Å³ an atom; "
                f"{_MIN_VOLUME_PER_ATOM_ANG3} or more is allowed"
            )
        return None

    def default_atoms_per_batch(self) -> int:
        """Atoms computed side by side when the caller does not say."""
        return 1

    @abstractmethod
    def _predict_batch(self, structures: Sequence[Structure]) -> list[Prediction]:
        """Compute structures that have passed find_obstacle; may raise one of MODEL_ERRORS."""

    def _predict_safely(self, structures: Sequence[Structure]) -> list[Prediction]:
        failure = "the model's energy, forces or stress are not finite numbers"
        try:
            predictions = self._predict_batch(structures)
        except MODEL_ERRORS as exc:
            failure = describe_error(exc)
        else:
            if all(_is_finite(prediction) for prediction in predictions):
                return predictions
        if len(structures) == 1:
            return [Prediction(None, None, failure=failure)]
        middle = len(structures) // 2
        return self._predict_safely(structures[:middle]) + self._predict_safely(structures[middle:])


def describe_error(exc: Exception) -> str:
    """One line that names an exception, for a failure column."""
    lines = str(exc).strip().splitlines()
    return f"{type(exc).__name__}: {lines[0][:300]}" if lines else type(exc).__name__


def _is_finite(prediction: Prediction) -> bool:
    values = (prediction.energy_ev, prediction.forces_ev_per_ang, prediction.stress_ev_per_ang3)
    return all(bool(np.isfinite(value).all()) for value in values if value is not None)


def _split_batches(indices: Sequence[int], structures: Sequence[Structure], max_atoms: int) -> Iterator[list[int]]:
    """Group indices in their order so that no group has more than max_atoms atoms, or is a single structure."""
    batch: list[int] = []
    n_atoms = 0
    for index in indices:
        if batch and n_atoms + structures[index].n_atoms > max_atoms:
            yield batch
            batch, n_atoms = [], 0
        batch.append(index)
        n_atoms += structures[index].n_atoms
    if batch:
        yield batch
