"""Interatomic potentials: a reference such as `heo-mini` becomes a ModelFile, and a ModelFile a loaded Potential.

Each family is one module, and its package is imported there only: importing this package imports no torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from heo_core.errors import ModelError
from heo_core.models.potential import Potential
from heo_core.records import ModelFile

__all__ = [
    "ALLOWED_REFERENCES",
    "Potential",
    "describe",
    "inspect_file",
    "load_model",
    "resolve_device",
    "resolve_model",
]

ALLOWED_REFERENCES = (
    "heo-mini, mace-mp:small|medium|large, chgnet:0.3.0, file:PATH, or NAME@VERSION of a registered model"
)

_ASSETS = Path(__file__).parents[1] / "assets"


def resolve_model(reference: str) -> ModelFile:
    """Find the file of a model that is named by itself: heo-mini, mace-mp:SIZE, chgnet:0.3.0 or file:PATH.

    NAME@VERSION is looked up in the database by the flows. mace-mp:SIZE is downloaded once, into MACE's own cache. A
    user's file is inspected before anything in it runs. ModelError names what is wrong and what is allowed.
    """
    family, _, rest = reference.partition(":")
    if reference == "heo-mini":
        return _resolve_bundled(reference)
    if family == "mace-mp" and rest in {"small", "medium", "large"}:
        from heo_core.models import mace

        return mace.resolve_mace_mp(rest)
    if reference == "chgnet:0.3.0":
        from heo_core.models import chgnet

        return chgnet.resolve_chgnet()
    if family == "file" and rest:
        return inspect_file(rest)
    raise ModelError(f"{reference!r} is not a model that can be found; allowed: {ALLOWED_REFERENCES}")


def load_model(model: ModelFile, *, device: str = "auto", dtype: str = "float64") -> Potential:
    """Load a model for device auto, cpu or cuda and dtype float32 or float64 (a family with one precision keeps it).

    The sha256 of the file is checked before anything in it is read; ModelError if it differs, or if the file is no such
    model.
    """
    if dtype not in {"float32", "float64"}:
        raise ModelError(f"dtype is {dtype!r}; allowed: float32, float64")
    if model.family == "mace":
        from heo_core.models import mace

        return mace.MacePotential(model, device=resolve_device(device), dtype=dtype)
    if model.family == "chgnet":
        from heo_core.models import chgnet

        return chgnet.ChgnetPotential(model, device=resolve_device(device))
    raise ModelError(f"model family is {model.family!r}; allowed: mace, chgnet")


def inspect_file(path: str | Path) -> ModelFile:
    """Check that a file is a MACE model that computes, without running what a stranger wrote into it.

    ModelError with one sentence otherwise: no such file, not a torch archive, references to other code than MACE's, a
    bare state_dict, a compiled model, numbers that are not finite.
    """
    from heo_core.models import mace

    return mace.inspect_mace_file(Path(path))


def describe(model: ModelFile) -> dict[str, Any]:
    """Facts for the registry: n_parameters, elements, r_max_ang (the cutoff) and dtype of the weights in the file."""
    if model.family == "chgnet":
        from heo_core.models import chgnet

        return chgnet.describe_chgnet(model)
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
    )
