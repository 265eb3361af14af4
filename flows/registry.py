"""From what people call a model to a registered version of it, with its file in the artifact store."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from db import models
from db.engine import session_scope
from flows.events import emit_model_registered
from flows.settings import Settings
from heo_core.artifacts import store_artifact
from heo_core.errors import InputError
from heo_core.models import resolve_model
from heo_core.models.potential import ENERGY_SCALES
from heo_core.params import NAME_PATTERN
from heo_core.records import ModelFile


def register_model(reference: str, settings: Settings, *, name: str | None = None) -> int:
    """Return the id of the model version that a reference means.

    NAME and NAME@VERSION are looked up; heo-mini, mace-mp:..., chgnet:... and file:PATH are resolved, checked and
    registered.
    Raises ModelError or InputError, naming what is allowed, for anything else.
    """
    url = settings.resolve_database_url()
    if not is_published(reference):
        with session_scope(url) as session:
            return models.get_registered_model(session, reference).id
    name = _check_name(name or name_published_model(reference), reference)
    model = resolve_model(reference)
    size_bytes = None
    if model.path is not None:
        artifact = store_artifact(Path(model.path), settings.artifacts)
        model = replace(model, path=str(artifact.path))
        size_bytes = artifact.size_bytes
    with session_scope(url) as session:
        row, is_new = models.register_published_model(
            session,
            model,
            name=name,
            size_bytes=size_bytes,
            # Nobody knows on what energies a file of the user's own was trained.
            energy_scale=None if reference.startswith("file:") else ENERGY_SCALES.get(model.family),
        )
    if is_new:
        emit_model_registered(row.id, settings)
    return row.id


def load_model_file(model_version_id: int, settings: Settings) -> ModelFile:
    """Return what heo_core needs to load a registered version."""
    with session_scope(settings.resolve_database_url()) as session:
        return models.load_model_file(session, model_version_id)


def is_published(reference: str) -> bool:
    """Whether a reference names a model by itself; the name of a registered one holds no colon."""
    return ":" in reference or reference == "heo-mini"


def _check_name(name: str, reference: str) -> str:
    if not re.fullmatch(NAME_PATTERN, name):
        raise InputError(
            f"{name!r} is no name: letters, digits, dot, underscore and hyphen, the first a letter or digit"
        )
    if name == "heo-mini" and reference != name:
        raise InputError("the name 'heo-mini' belongs to the bundled model: choose another with --name")
    return name


def name_published_model(reference: str) -> str:
    """Name under which a published model is registered: mace-mp:medium is mace-mp-medium, file:a/b.model is b."""
    kind, _, rest = reference.partition(":")
    words = Path(rest).stem if kind == "file" else reference
    return re.sub(r"[^A-Za-z0-9._-]+", "-", words).strip("-.") or "model"
