"""The MACE family: heo-mini, MACE-MP-0, users' files, finetuned models. Only the trainer imports mace-torch too."""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase.data import chemical_symbols

from heo_core.errors import ModelError
from heo_core.models.model_file import UnsafeModelError, read_archive
from heo_core.models.potential import MODEL_ERRORS, Potential
from heo_core.models.sim_state import find_neighbors, to_sim_state
from heo_core.records import ModelFile, Prediction, Structure


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what mace-torch, e3nn and torch say about their own use of each other."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD detected", UserWarning)
        yield


# It prints that an optional accelerator is absent.
with _quiet(), contextlib.redirect_stdout(io.StringIO()):
    import mace  # first: with it torch reads e3nn's constants
    from mace.calculators import MACECalculator
    from mace.calculators.foundations_models import download_mace_mp_checkpoint, mace_mp_urls
    from mace.tools.utils import get_cache_dir
    from torch_sim.models.mace import MaceModel

if TYPE_CHECKING:
    from ase import Atoms

# With heo-mini on one core 128 atoms cost 0.7 ms each, cell by cell 1.1 and 1024 atoms 0.84. A GPU wants more.
_ATOMS_PER_BATCH = {"cpu": 128, "cuda": 8192}


class MacePotential(Potential):
    """A MACE model: torch-sim computes many structures side by side, MACE's own calculator serves ASE."""

    family = "mace"

    def __init__(self, model: ModelFile, *, device: str, dtype: str) -> None:
        super().__init__(model, device=device, dtype=dtype)
        self._module = _load_module(model, device).to(getattr(torch, dtype))
        self._torch_sim_model = MaceModel(
            self._module,
            device=torch.device(device),
            dtype=getattr(torch, dtype),
            neighbor_list_fn=find_neighbors if device == "cpu" else None,
        )

    def as_ase_calculator(self) -> MACECalculator:
        """Return MACE's own calculator; several of different precision may live side by side."""
        with _default_dtype(self.dtype):
            return _Calculator(models=[self._module], device=self.device, default_dtype=self.dtype)

    def as_torch_sim_model(self) -> MaceModel:
        """Return torch-sim's model of this potential."""
        return self._torch_sim_model

    def default_atoms_per_batch(self) -> int:
        """Atoms computed side by side when the caller does not say."""
        return _ATOMS_PER_BATCH[self.device]

    def _predict_batch(self, structures: Sequence[Structure]) -> list[Prediction]:
        output = self._torch_sim_model(to_sim_state(structures, device=self.device, dtype=self.dtype))
        energies, forces, stresses = (
            output[name].cpu().numpy().astype(np.float64) for name in ("energy", "forces", "stress")
        )
        ends = np.cumsum([structure.n_atoms for structure in structures])
        per_structure = zip(energies, np.split(forces, ends[:-1]), stresses, strict=True)
        return [Prediction(float(energy), force, stress) for energy, force, stress in per_structure]


class _Calculator(MACECalculator):  # type: ignore[misc]
    """MACE builds its input in torch's global precision: set it for the call only, so that two can differ."""

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = None) -> None:
        with _default_dtype(self.default_dtype):
            super().calculate(atoms, properties, system_changes)


@contextlib.contextmanager
def _default_dtype(dtype: str) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def resolve_mace_mp(size: str) -> ModelFile:
    """MACE-MP-0 from MACE's cache, where it is downloaded to at first. ModelError without network."""
    url = mace_mp_urls[size]
    name = "".join(letter for letter in Path(url).name if letter.isalnum() or letter == "_")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where MACE says what it downloads
            path = download_mace_mp_checkpoint(size)
    except (OSError, RuntimeError) as exc:
        raise ModelError(
            f"mace-mp:{size} is not on this machine and could not be downloaded ({exc}); "
            f"where there is a network, fetch {Path(url).name} and put it here as {get_cache_dir() / name}"
        ) from exc
    return replace(inspect_mace_file(Path(path)), reference=f"mace-mp:{size}", licence="MIT")


def inspect_mace_file(path: Path) -> ModelFile:
    """See `heo_core.models.inspect_file`."""
    path = path.expanduser()
    content = _read(path)
    module = _build_module(content, path, "cpu")
    model = ModelFile(
        family="mace",
        reference=f"file:{path.resolve()}",
        path=str(path.resolve()),
        sha256=hashlib.sha256(content).hexdigest(),
        elements=tuple(chemical_symbols[int(number)] for number in module.atomic_numbers),
    )
    probe = MacePotential(model, device="cpu", dtype="float64").predict([_make_probe_cell(model.elements)])[0]
    if probe.failure:
        raise ModelError(f"{path} is a MACE model that does not compute: {probe.failure} on a cell of two atoms")
    return model


def describe_mace(model: ModelFile) -> dict[str, Any]:
    """See `heo_core.models.describe`."""
    module = _load_module(model, "cpu")
    parameters = list(module.parameters())
    return {
        "n_parameters": sum(parameter.numel() for parameter in parameters),
        "elements": [chemical_symbols[int(number)] for number in module.atomic_numbers],
        "r_max_ang": float(module.r_max),
        "dtype": str(parameters[0].dtype).removeprefix("torch."),
    }


def _load_module(model: ModelFile, device: str) -> Any:
    path = Path(model.path or "")
    content = _read(path)
    found = hashlib.sha256(content).hexdigest()
    if found != model.sha256:
        raise ModelError(
            f"{path} is not the file that was registered as {model.reference}: sha256 {found}, expected {model.sha256}"
        )
    return _build_module(content, path, device)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as exc:  # ValueError: a zero byte in the path
        raise ModelError(f"the model file {str(path)!r} cannot be read: {exc}") from exc


def _build_module(content: bytes, path: Path, device: str) -> Any:
    try:
        with _quiet():
            module = read_archive(content, device=device)
    except (zipfile.BadZipFile, UnsafeModelError) as exc:
        raise ModelError(f"{path} is not a MACE model: {exc}") from exc
    except (*MODEL_ERRORS, AttributeError, TypeError, ImportError, EOFError) as exc:
        raise ModelError(f"{path} is not a MACE model that mace-torch {mace.__version__} can read: {exc}") from exc
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{path} is not a MACE model: it holds a {type(module).__name__} (weights without the model?)")
    if missing := [name for name in ("atomic_numbers", "r_max", "interactions") if not hasattr(module, name)]:
        raise ModelError(f"{path} is not a MACE model: it is a {type(module).__name__} without {', '.join(missing)}")
    return module


def _make_probe_cell(elements: tuple[str, ...]) -> Structure:
    """Two atoms of the model's first and last element in a rock-salt primitive cell, 2.1 Å apart."""
    half = 2.1
    lattice = half * np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    positions = np.array([[0.0, 0.0, 0.0], [half, half, half]])
    return Structure(lattice, positions, (elements[0], elements[-1]), immutable_id="probe", source="probe")
