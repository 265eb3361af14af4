"""The SevenNet family. sevenn is imported here only, in an environment of its own: MACE wants another e3nn.

7net-0, of 11 July 2024, computes in float32. Its energies are on the scale of uncorrected PBE(+U), as MPtrj gives them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from heo_core.artifacts import check_sha256
from heo_core.errors import ModelError
from heo_core.models.foundations import FOUNDATIONS
from heo_core.models.potential import Potential
from heo_core.models.sim_state import find_neighbors, predict_batch
from heo_core.records import ModelFile, Prediction, Structure

with warnings.catch_warnings():  # torch's word to e3nn's authors
    warnings.filterwarnings("ignore", r"`torch\.jit\.", FutureWarning)
    from sevenn._const import SEVENNET_0_11Jul2024
    from sevenn.calculator import SevenNetCalculator
    from sevenn.torchsim import SevenNetModel
    from sevenn.util import load_checkpoint

_REFERENCE = "sevennet:7net-0"
_SHA256 = "7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36"

# Smaller batches leave a GPU idle; on a CPU larger ones are no faster.
_ATOMS_PER_BATCH = {"cpu": 128, "cuda": 4096}


class SevenNetPotential(Potential):
    """A SevenNet model: torch-sim computes many structures side by side, SevenNet's own calculator serves ASE."""

    family = "sevennet"

    def __init__(self, model: ModelFile, *, device: str) -> None:
        super().__init__(model, device=device, dtype="float32")
        self._path = _check_file(model)
        with _quiet():
            self._torch_sim_model = SevenNetModel(
                self._path, device=device, neighbor_list_fn=find_neighbors if device == "cpu" else None
            )

    def as_ase_calculator(self) -> SevenNetCalculator:
        """Return SevenNet's own calculator."""
        with _quiet():
            return SevenNetCalculator(self._path, device=self.device)

    def as_torch_sim_model(self) -> SevenNetModel:
        """Return torch-sim's model of this potential."""
        return self._torch_sim_model

    def default_atoms_per_batch(self) -> int:
        """Atoms computed side by side when the caller does not say."""
        return _ATOMS_PER_BATCH[self.device]

    def _predict_batch(self, structures: Sequence[Structure]) -> list[Prediction]:
        return predict_batch(self._torch_sim_model, structures, device=self.device, dtype=self.dtype)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what SevenNet and e3nn say to their own authors, and advice on kernels for GPUs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No tensor product accelerator", UserWarning)
        warnings.filterwarnings("ignore", r"`torch\.jit\.", FutureWarning)
        warnings.filterwarnings("ignore", "unclosed file", ResourceWarning)
        yield


def resolve_sevennet() -> ModelFile:
    """7net-0, whose checkpoint is part of the package; ModelError, with both hashes, if it is another file."""
    check_sha256(Path(SEVENNET_0_11Jul2024), _SHA256)
    foundation = FOUNDATIONS[_REFERENCE]
    return ModelFile(
        family="sevennet",
        reference=_REFERENCE,
        path=SEVENNET_0_11Jul2024,
        sha256=_SHA256,
        elements=tuple(_read_e0s(_read_config(SEVENNET_0_11Jul2024))),
        licence=foundation.licence,
        energy_scale=foundation.energy_scale,
    )


def describe_sevennet(model: ModelFile) -> dict[str, Any]:
    """See `heo_core.models.describe`."""
    path = _check_file(model)
    with _quiet():
        network = load_checkpoint(path).build_model()
    e0s = _read_e0s(_read_config(path))
    return {
        "n_parameters": sum(parameter.numel() for parameter in network.parameters()),
        "elements": list(e0s),
        "r_max_ang": float(network.cutoff),
        "dtype": "float32",
        "e0s": e0s,
        "heads": ["Default"],
        "package_versions": {package: version(package) for package in ("sevenn", "e3nn", "torch")},
    }


def _read_config(path: str) -> dict[str, Any]:
    with _quiet():
        return dict(load_checkpoint(path).config)


def _read_e0s(config: dict[str, Any]) -> dict[str, float]:
    """Energies that SevenNet adds for each atom of an element, eV, in the order of the periodic table."""
    order = sorted(config["_type_map"].items())
    return {chemical_symbols[number]: float(config["shift"][position]) for number, position in order}


def _check_file(model: ModelFile) -> str:
    """Path of the one checkpoint that is loaded: it is a pickle, and only these bytes are known."""
    if model.path is None or model.sha256 != _SHA256:
        raise ModelError(f"{model.reference} has sha256 {model.sha256}; allowed for SevenNet: {_SHA256} (7net-0)")
    check_sha256(Path(model.path), _SHA256)
    return model.path
