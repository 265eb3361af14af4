"""Interatomic potentials: a reference such as `heo-mini` becomes a ModelFile, and a ModelFile a loaded Potential.

Each family is one module, and its package is imported there only: importing this package imports no torch. `load` does
it all in one call.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from heo_core.errors import ModelError, ServiceError
from heo_core.models.download import Tell, tell_stderr
from heo_core.models.foundations import ALLOWED_REFERENCES, FOUNDATIONS
from heo_core.models.potential import Potential
from heo_core.params import NAME_PATTERN
from heo_core.records import ModelFile

__all__ = [
    "ALLOWED_REFERENCES",
    "FOUNDATIONS",
    "Potential",
    "describe",
    "find_published_file",
    "inspect_file",
    "is_installed",
    "load",
    "load_model",
    "resolve_device",
    "resolve_model",
]

_ASSETS = Path(__file__).parents[1] / "assets"

_PACKAGES = {"mace": "mace", "chgnet": "chgnet", "sevennet": "sevenn"}
"""What each family is imported from. SevenNet and MACE want different e3nn, so no environment has both."""


def load(model: str | ModelFile, *, device: str = "auto", dtype: str = "float64") -> Potential:
    """Load a model by its reference: `load("heo-mini")`, `load("registry:NAME@VERSION")`, `load("file:PATH")`.

    The Potential predicts; `as_ase_calculator()` and `as_torch_sim_model()` hand it to ASE and to torch-sim. device:
    auto, cpu or cuda. dtype: float32 or float64 (a family with one precision keeps it). Raises ModelError for anything
    that is no model, ServiceError where the registry would be needed and its database is not there.
    """
    return load_model(resolve_model(model) if isinstance(model, str) else model, device=device, dtype=dtype)


def resolve_model(reference: str, *, sha256: str | None = None, tell: Tell = tell_stderr) -> ModelFile:
    """Find the file of a model: one of FOUNDATIONS, file:PATH, or a registered one.

    Foundations of mace-torch are downloaded once, into MACE's own cache; `tell` hears of that, and of a licence that
    forbids uses. sha256: of the file that this reference meant before; another one is refused. A user's file is
    inspected before anything in it runs. ModelError names what is wrong and what is allowed.
    """
    family, _, rest = reference.partition(":")
    foundation = FOUNDATIONS.get(reference)
    if foundation is not None and foundation.notice:
        tell(foundation.notice)
    if reference == "heo-mini":
        return _resolve_bundled(reference)
    if foundation is not None:
        _require(foundation.family)
    if foundation is not None and foundation.family == "chgnet":
        from heo_core.models import chgnet

        return chgnet.resolve_chgnet()
    if foundation is not None and foundation.family == "sevennet":
        from heo_core.models import sevennet

        return sevennet.resolve_sevennet()
    if foundation is not None:
        from heo_core.models import mace

        return mace.resolve_published(foundation, sha256=sha256, tell=tell)
    if family == "file" and rest:
        return inspect_file(rest)
    if re.fullmatch(NAME_PATTERN, reference.removeprefix("registry:").partition("@")[0]):
        return _ask_registry(reference)
    raise ModelError(f"{reference!r} is not a model that can be found; allowed: {ALLOWED_REFERENCES}")


def is_installed(family: str) -> bool:
    """Whether models of a family can be computed in this environment."""
    return family in _PACKAGES and find_spec(_PACKAGES[family]) is not None


def _require(family: str) -> None:
    if family not in _PACKAGES:
        raise ModelError(f"model family is {family!r}; allowed: {', '.join(_PACKAGES)}")
    if not is_installed(family):
        raise ModelError(
            f"models of the family {family} cannot be computed in this environment, {sys.prefix}, which has no package "
            f"{_PACKAGES[family]}; SevenNet has an environment of its own: 'make setup-sevennet' makes .venv-sevennet, "
            "and 'heo up' starts a worker of it"
        )


def find_published_file(reference: str) -> Path | None:
    """Where a foundation of mace-torch's lies on this machine; None if it would have to be downloaded."""
    from heo_core.models import mace

    return mace.find_published_file(FOUNDATIONS[reference])


def load_model(model: ModelFile, *, device: str = "auto", dtype: str = "float64") -> Potential:
    """Load a model for device auto, cpu or cuda and dtype float32 or float64 (a family with one precision keeps it).

    The sha256 of the file is checked before anything in it is read; ModelError if it differs, or if the file is no such
    model.
    """
    if dtype not in {"float32", "float64"}:
        raise ModelError(f"dtype is {dtype!r}; allowed: float32, float64")
    _require(model.family)
    if model.family == "chgnet":
        from heo_core.models import chgnet

        return chgnet.ChgnetPotential(model, device=resolve_device(device))
    if model.family == "sevennet":
        from heo_core.models import sevennet

        return sevennet.SevenNetPotential(model, device=resolve_device(device))
    from heo_core.models import mace

    return mace.MacePotential(model, device=resolve_device(device), dtype=dtype)


def inspect_file(path: str | Path) -> ModelFile:
    """Check that a file is a MACE model that computes, without running what a stranger wrote into it.

    ModelError with one sentence otherwise: no such file, not a torch archive, references to other code than MACE's, a
    bare state_dict, a compiled model, numbers that are not finite.
    """
    _require("mace")
    from heo_core.models import mace

    return mace.inspect_mace_file(Path(path))


def describe(model: ModelFile) -> dict[str, Any]:
    """Facts for the registry, read from the file.

    n_parameters, elements, r_max_ang (the cutoff), dtype (of the weights), e0s (element to eV, of the head that
    computes) and heads (names of the output heads); where the weights come in a package, package_versions too.
    """
    _require(model.family)
    if model.family == "chgnet":
        from heo_core.models import chgnet

        return chgnet.describe_chgnet(model)
    if model.family == "sevennet":
        from heo_core.models import sevennet

        return sevennet.describe_sevennet(model)
    from heo_core.models import mace

    return mace.describe_mace(model)


def resolve_device(requested: str) -> str:
    """Return cpu or cuda for auto, cpu or cuda. ModelError if cuda is asked for where there is none."""
    if requested not in {"auto", "cpu", "cuda"}:
        raise ModelError(f"device is {requested!r}; allowed: auto, cpu, cuda")
    if requested == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if requested == "cuda":
        raise ModelError("device is 'cuda', but torch finds no CUDA device here; allowed here: auto, cpu")
    return "cpu"


def _resolve_bundled(name: str) -> ModelFile:
    path = _ASSETS / name / f"{name}.model"
    try:
        card = json.loads((path.parent / "card.json").read_text())
    except OSError as exc:
        raise ModelError(f"the bundled model {name} is missing from this installation: {exc}") from exc
    return ModelFile(
        family="mace",
        reference=name,
        path=str(path),
        sha256=card["sha256"],
        elements=tuple(card["elements"]),
        licence=card["licence"],
        energy_scale=FOUNDATIONS[name].energy_scale,
    )


def _ask_registry(reference: str) -> ModelFile:
    """Look a model up in the database of heo, which makes itself known as an entry point: nothing here imports it.

    ServiceError, naming what needs no database, if there is none.
    """
    found = list(entry_points(group="heo.model_registry"))
    if not found:
        raise ModelError(
            f"{reference!r} is no published model, and this installation of heo has no registry of models (install it "
            f"again); allowed: {ALLOWED_REFERENCES}"
        )
    find: Callable[[str], ModelFile] = found[0].load()
    try:
        return find(reference)
    except ServiceError as exc:
        raise ServiceError(
            f"{reference!r} is no published model, and the registry of models cannot be asked: {exc}; "
            f"allowed: {ALLOWED_REFERENCES}"
        ) from exc
