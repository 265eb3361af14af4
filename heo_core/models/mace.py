"""The MACE family: heo-mini, MACE-MP-0, users' files, finetuned models. Only the trainer imports mace-torch too."""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickle
import stat
import struct
import sys
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase.data import chemical_symbols

from heo_core.errors import ModelError
from heo_core.models.download import Tell, download
from heo_core.models.foundations import Foundation
from heo_core.models.model_file import UnsafeModelError, read_archive
from heo_core.models.potential import MODEL_ERRORS, Potential, describe_error
from heo_core.models.sim_state import find_neighbors, predict_batch
from heo_core.records import ModelFile, Prediction, Structure


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself what mace-torch, e3nn and torch say about their own use of each other."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD detected", UserWarning)
        yield


# It prints that an optional accelerator is absent.
with quiet(), contextlib.redirect_stdout(io.StringIO()):
    import mace  # first: with it torch reads e3nn's constants
    from mace.calculators import MACECalculator
    from mace.calculators.foundations_models import download_mace_mp_checkpoint, local_model_path, mace_mp_urls
    from mace.tools.utils import get_cache_dir
    from torch_sim.models.mace import MaceModel

    from heo_core.models.mace_cpu import use_cpu_layers

if TYPE_CHECKING:
    from ase import Atoms

# Measured on one core (docs/performance.md): side by side, atoms cost less up to these numbers, and not beyond, where
# what belongs to a batch no longer fits into the caches. heo-mini has 0.2 million parameters, MACE-MP-0 medium 4.7.
_ATOMS_PER_BATCH = {"cpu": 256, "cuda": 8192}
_ATOMS_PER_BATCH_OF_LARGE_MODEL_ON_CPU = 64
_FEWEST_PARAMETERS_OF_LARGE_MODEL = 1_000_000

# Larger is no model file but a mistake: MACE's largest has a few hundred megabytes.
_LARGEST_FILE_BYTES = 4 * 1024**3
_LARGEST_CUTOFF_ANG = 50.0
_UNPICKLING_ERRORS = (
    AttributeError,
    TypeError,
    ImportError,
    EOFError,
    AssertionError,
    MemoryError,
    pickle.PickleError,
    struct.error,
)
_PARTS = ("atomic_numbers", "r_max", "interactions", "atomic_energies_fn")


class MacePotential(Potential):
    """A MACE model: torch-sim computes many structures side by side, MACE's own calculator serves ASE."""

    family = "mace"

    def __init__(self, model: ModelFile, *, device: str, dtype: str) -> None:
        super().__init__(model, device=device, dtype=dtype)
        self._module = load_module(model, device).to(getattr(torch, dtype))
        on_cpu = device == "cpu"
        if on_cpu:
            use_cpu_layers(self._module)
        self._torch_sim_model = MaceModel(
            self._module,
            device=torch.device(device),
            dtype=getattr(torch, dtype),
            neighbor_list_fn=find_neighbors if on_cpu else None,
            enable_cueq=not on_cpu and find_spec("cuequivariance_torch") is not None,
            head=_choose_head(self._module, model.reference),
        )

    def in_single_precision(self) -> MacePotential:
        """Return this potential in float32; itself if it is. It is loaded once."""
        return self if self.dtype == "float32" else self._single

    @cached_property
    def _single(self) -> MacePotential:
        return MacePotential(self._model_file, device=self.device, dtype="float32")

    def as_ase_calculator(self) -> MACECalculator:
        """Return MACE's own calculator; several of different precision may live side by side."""
        return make_ase_calculator(self._module, device=self.device, dtype=self.dtype, where=self.reference)

    def as_torch_sim_model(self) -> MaceModel:
        """Return torch-sim's model of this potential."""
        return self._torch_sim_model

    def default_atoms_per_batch(self) -> int:
        """Atoms computed side by side when the caller does not say."""
        n_parameters = sum(parameter.numel() for parameter in self._module.parameters())
        if self.device == "cpu" and n_parameters > _FEWEST_PARAMETERS_OF_LARGE_MODEL:
            return _ATOMS_PER_BATCH_OF_LARGE_MODEL_ON_CPU
        return _ATOMS_PER_BATCH[self.device]

    def _predict_batch(self, structures: Sequence[Structure]) -> list[Prediction]:
        return predict_batch(self._torch_sim_model, structures, device=self.device, dtype=self.dtype)


class _Calculator(MACECalculator):  # type: ignore[misc]
    """MACE builds its input in torch's global precision: set it for the call only, so that two can differ."""

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = None) -> None:
        with _default_dtype(self.default_dtype):
            super().calculate(atoms, properties, system_changes)


def make_ase_calculator(module: Any, *, device: str, dtype: str, where: str) -> MACECalculator:
    """Return MACE's own calculator of a module; where: what an error names it."""
    with _default_dtype(dtype):
        return _Calculator(models=[module], device=device, default_dtype=dtype, head=_choose_head(module, where))


@contextlib.contextmanager
def _default_dtype(dtype: str) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def find_published_file(foundation: Foundation) -> Path | None:
    """Where MACE's own loader would find a foundation on this machine; None if it would download it."""
    if foundation.mace_name == "medium-mpa-0" and Path(local_model_path).is_file():
        return Path(local_model_path)
    path = _find_cached_path(mace_mp_urls[foundation.mace_name])
    return path if path.is_file() else None


def resolve_published(foundation: Foundation, *, sha256: str | None, tell: Tell) -> ModelFile:
    """Return a foundation of mace-torch's from MACE's cache, where it is downloaded to at first.

    sha256: of the file that was registered under this reference before. ModelError, with both hashes, if the file is
    another one, and without network.
    """
    if find_published_file(foundation) is None:
        _download(foundation, tell)
    with contextlib.redirect_stdout(sys.stderr):  # where MACE says what it uses
        path = Path(download_mace_mp_checkpoint(foundation.mace_name))
    content = _read(path)
    found = hashlib.sha256(content).hexdigest()
    if sha256 not in {None, found}:
        raise ModelError(
            f"{foundation.reference} is registered here with sha256 {sha256}, but {path} has {found}: restore that "
            "file (once it is deleted, it is downloaded again), or register the new one on purpose, under another "
            f"name: heo models add {path} --name NAME"
        )
    return replace(
        _inspect(content, path),
        reference=foundation.reference,
        licence=foundation.licence,
        energy_scale=foundation.energy_scale,
    )


def _find_cached_path(url: str) -> Path:
    """MACE's name for the file in its cache: letters, digits and underscores of the address's last part."""
    return Path(get_cache_dir()) / "".join(letter for letter in Path(url).name if letter.isalnum() or letter == "_")


def _download(foundation: Foundation, tell: Tell) -> None:
    """Fetch the file to where MACE's loader looks for it; that loader itself begins again after every cut."""
    url = mace_mp_urls[foundation.mace_name]
    path = _find_cached_path(url)
    tell(f"{foundation.reference} has the licence {foundation.licence}")
    try:
        download(url, path, tell)
    except ModelError as exc:
        raise ModelError(
            f"{foundation.reference} is not on this machine and could not be downloaded ({exc}); "
            f"where there is a network, fetch {Path(url).name} from {url} and put it here as {path}"
        ) from exc


def inspect_mace_file(path: Path) -> ModelFile:
    """See `heo_core.models.inspect_file`."""
    with contextlib.suppress(RuntimeError):  # nobody of that name
        path = path.expanduser()
    if not str(path).isprintable():
        raise ModelError(
            f"the model file {str(path)!r} cannot be read: its name holds line breaks, control characters or bytes "
            "that are no text; rename it"
        )
    return _inspect(_read(path), path)


def _inspect(content: bytes, path: Path) -> ModelFile:
    module = _build_module(content, path, "cpu")
    _check_parts(module, path)
    model = ModelFile(
        family="mace",
        reference=f"file:{path.resolve()}",
        path=str(path.resolve()),
        sha256=hashlib.sha256(content).hexdigest(),
        elements=tuple(_read_elements(module)),
    )
    try:
        probe = MacePotential(model, device="cpu", dtype="float64").predict([_make_probe_cell(model.elements)])[0]
    except (*MODEL_ERRORS, *_UNPICKLING_ERRORS) as exc:
        raise ModelError(f"{path} is a MACE model that does not compute: {describe_error(exc)}") from exc
    if probe.failure:
        raise ModelError(f"{path} is a MACE model that does not compute: {probe.failure} on a cell of two atoms")
    return model


def _check_parts(module: Any, path: Path) -> None:
    """Raise ModelError unless elements, isolated-atom energies, cutoff and weights of a MACE model fit together."""
    try:
        numbers = [int(number) for number in module.atomic_numbers.flatten()]
        e0s, r_max = _stack_e0s(module), float(module.r_max)
        weights = [*module.named_parameters(), ("E0s", e0s)]
    except (*MODEL_ERRORS, *_UNPICKLING_ERRORS) as exc:
        raise ModelError(f"{path} is no usable MACE model: {describe_error(exc)}") from exc
    if wrong := [number for number in numbers if not 1 <= number < len(chemical_symbols)]:
        raise ModelError(f"{path} is no usable MACE model: its atomic_numbers {wrong[:5]} are no elements")
    if len(set(numbers)) != len(numbers) or e0s.shape[-1] != len(numbers):
        raise ModelError(
            f"{path} is no usable MACE model: {len(numbers)} atomic_numbers, {len(set(numbers))} of them different, "
            f"and E0s for {e0s.shape[-1]} elements"
        )
    if not 0 < r_max < _LARGEST_CUTOFF_ANG:
        raise ModelError(f"{path} is no usable MACE model: its cutoff r_max is {r_max:g} Å")
    for name, values in weights:
        if not bool(torch.isfinite(values).all()):
            raise ModelError(f"{path} is a MACE model that does not compute: its weights {name} are not finite numbers")
    _choose_head(module, str(path))


def _choose_head(module: Any, where: str) -> str:
    """Return the output head that computes: the only one, or the one called default. ModelError if neither is there."""
    heads = _read_heads(module)
    for head in heads:
        if len(heads) == 1 or head.lower() == "default":
            return head
    raise ModelError(
        f"{where} has the output heads {', '.join(heads)}, and none is called Default: "
        "keep one of them with MACE's mace_select_head, and use that file"
    )


def describe_mace(model: ModelFile) -> dict[str, Any]:
    """See `heo_core.models.describe`."""
    module = load_module(model, "cpu")
    parameters = list(module.parameters())
    return {
        "n_parameters": sum(parameter.numel() for parameter in parameters),
        "elements": _read_elements(module),
        "r_max_ang": float(module.r_max),
        "dtype": str(parameters[0].dtype).removeprefix("torch."),
        "e0s": _read_e0s(module, model.reference),
        "heads": _read_heads(module),
    }


def _read_elements(module: Any) -> list[str]:
    return [chemical_symbols[int(number)] for number in module.atomic_numbers]


def _read_heads(module: Any) -> list[str]:
    """Names of the output heads; models of MACE's first years have one without a name."""
    return list(getattr(module, "heads", None) or ["Default"])


def _stack_e0s(module: Any) -> torch.Tensor:
    """(n_heads, n_elements); models of one head may hold (n_elements,)."""
    energies: torch.Tensor = module.atomic_energies_fn.atomic_energies
    return energies.reshape(-1, energies.shape[-1])


def _read_e0s(module: Any, where: str) -> dict[str, float]:
    """Energies of the single atoms, eV by element, of the output head that computes."""
    energies = _stack_e0s(module).double()
    head = _read_heads(module).index(_choose_head(module, where)) if len(energies) > 1 else 0
    return dict(zip(_read_elements(module), energies[head].tolist(), strict=True))


def load_module(model: ModelFile, device: str) -> Any:
    """Return the torch module in a model file. ModelError if its sha256 is not the registered one or it is no MACE."""
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
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"the model file {str(path)!r} cannot be read: it is no file but a folder or a device")
        if status.st_size > _LARGEST_FILE_BYTES:
            raise ModelError(
                f"the model file {str(path)!r} has {status.st_size / 1e9:.1f} GB; "
                f"at most {_LARGEST_FILE_BYTES / 1e9:.1f} GB are read"
            )
        return path.read_bytes()
    except (OSError, ValueError) as exc:  # ValueError: a zero byte in the path
        raise ModelError(f"the model file {str(path)!r} cannot be read: {exc}") from exc


def _build_module(content: bytes, path: Path, device: str) -> Any:
    try:
        with quiet():
            module = read_archive(content, device=device)
    except (zipfile.BadZipFile, UnsafeModelError) as exc:
        raise ModelError(f"{path} is not a MACE model: {exc}") from exc
    except (*MODEL_ERRORS, *_UNPICKLING_ERRORS) as exc:
        raise ModelError(
            f"{path} is not a MACE model that mace-torch {mace.__version__} can read: {describe_error(exc)}"
        ) from exc
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{path} is not a MACE model: it holds a {type(module).__name__} (weights without the model?)")
    if missing := [name for name in _PARTS if not hasattr(module, name)]:
        raise ModelError(f"{path} is not a MACE model: it is a {type(module).__name__} without {', '.join(missing)}")
    return module


def _make_probe_cell(elements: tuple[str, ...]) -> Structure:
    """Two atoms of the model's first and last element in a rock-salt primitive cell, 2.1 Å apart."""
    half = 2.1
    lattice = half * np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    positions = np.array([[0.0, 0.0, 0.0], [half, half, half]])
    return Structure(lattice, positions, (elements[0], elements[-1]), immutable_id="probe", source="probe")
