"""From what people call a model to a registered version of it, with its file in the artifact store."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from db import models
from db.engine import session_scope
from db.schema import ModelVersion
from flows.events import emit_model_registered
from flows.settings import Settings, load_settings
from heo_core.errors import InputError, ModelError, ServiceError
from heo_core.models import (
    ALLOWED_REFERENCES,
    FOUNDATIONS,
    describe,
    find_published_file,
    is_installed,
    resolve_model,
)
from heo_core.models.download import tell_stderr
from heo_core.params import NAME_PATTERN
from heo_core.records import ModelFile


def register_model(reference: str, settings: Settings, *, name: str | None = None) -> int:
    """Return the id of the model version that a reference means.

    NAME, NAME@VERSION and registry:NAME@VERSION are looked up; the published ones and file:PATH are resolved, checked
    and registered. A published reference means the bytes that it meant the first time: ModelError, with both hashes, if
    it resolves to others now.
    Raises ModelError or InputError, naming what is allowed, for anything else.
    """
    url = settings.resolve_database_url()
    if not is_published(reference):
        with session_scope(url) as session:
            name_and_version = reference.removeprefix("registry:")
            return models.get_registered_model(session, name_and_version, allowed=ALLOWED_REFERENCES).id
    if reference in FOUNDATIONS and not is_installed(FOUNDATIONS[reference].family):
        return _register_elsewhere(reference, settings)
    name = _check_name(name or name_published_model(reference), reference)
    pinned = _find_pinned(reference, settings)
    if pinned is not None and _is_only_in_store(pinned, settings):
        _tell(FOUNDATIONS[reference].notice)
        return pinned.id
    model = resolve_model(reference, sha256=pinned.sha256 if pinned else None, tell=_tell)
    facts = _gather_facts(model)
    if reference not in FOUNDATIONS:
        _store_auto_benchmarks()
    size_bytes = None
    if model.path is not None:
        artifact = settings.artifacts.put(Path(model.path))
        model = replace(model, path=artifact.uri)
        size_bytes = artifact.size_bytes
    with session_scope(url) as session:
        row, is_new = models.register_published_model(
            session,
            model,
            name=name,
            size_bytes=size_bytes,
            energy_scale=model.energy_scale,
            facts=facts,
        )
    if is_new:
        emit_model_registered(row.id, settings)
    return row.id


def register_foundation_model(reference: str, settings: Settings) -> int:
    """Return the id of the model version that a finetuning starts from; ModelError for one that cannot be finetuned."""
    published = FOUNDATIONS.get(reference)
    if published is not None:
        _check_can_be_finetuned(reference, published.family)
    model_version_id = register_model(reference, settings)
    with session_scope(settings.resolve_database_url()) as session:
        _check_can_be_finetuned(reference, models.get_model(session, model_version_id).family)
    _store_auto_benchmarks()
    return model_version_id


def _store_auto_benchmarks() -> None:
    from flows.benchmarks import store_auto_benchmarks  # which imports this module

    store_auto_benchmarks()


def _check_can_be_finetuned(reference: str, family: str) -> None:
    if family != "mace":
        raise ModelError(f"{reference} is of the family {family}; only mace models can be finetuned")


def _register_elsewhere(reference: str, settings: Settings) -> int:
    """Return the id of a model whose family this environment has not; at first a worker of its own registers it."""
    url = settings.resolve_database_url()
    with session_scope(url) as session:
        found = models.find_published(session, reference)
    if found is None:
        from flows.environments import hand_over  # it imports Prefect, which takes seconds

        hand_over(FOUNDATIONS[reference].family, reference)
        with session_scope(url) as session:
            found = models.find_published(session, reference)
    if found is None:
        raise ModelError(f"{reference} was registered by a worker that has another database than {settings.home}")
    return found.id


def load_model_file(model_version_id: int, settings: Settings) -> ModelFile:
    """Return what heo_core needs to load a registered version; its file is on this machine, and is the registered one.

    ModelError, with both hashes, if the artifact store holds other bytes or none.
    """
    with session_scope(settings.resolve_database_url()) as session:
        model = models.load_model_file(session, model_version_id)
    if not model.path or not model.sha256:
        return model
    return replace(model, path=str(settings.artifacts.fetch(model.path, model.sha256)))


def find_model_file(reference: str) -> ModelFile:
    """Return a registered model for `heo_core.models.load`, which finds this function by its entry point."""
    settings = load_settings()
    with session_scope(settings.resolve_database_url()) as session:
        model_version_id = models.get_registered_model(session, reference.removeprefix("registry:")).id
    return load_model_file(model_version_id, settings)


def is_published(reference: str) -> bool:
    """Whether a reference names a model by itself; the name of a registered one holds no colon."""
    return reference == "heo-mini" or (":" in reference and not reference.startswith("registry:"))


def _find_pinned(reference: str, settings: Settings) -> ModelVersion | None:
    """Version that a reference to a download meant before; files within packages are checked by these."""
    if reference not in FOUNDATIONS or FOUNDATIONS[reference].mace_name is None:
        return None
    with session_scope(settings.resolve_database_url()) as session:
        return models.find_published(session, reference)


def _is_only_in_store(pinned: ModelVersion, settings: Settings) -> bool:
    """Whether a pinned file is in the artifact store and no longer where it was downloaded to."""
    if find_published_file(pinned.reference) is not None or not pinned.artifact_uri or not pinned.sha256:
        return False
    try:
        settings.artifacts.fetch(pinned.artifact_uri, pinned.sha256)
    except (ModelError, ServiceError):
        return False  # it is downloaded again, and must have the same hash
    return True


def _gather_facts(model: ModelFile) -> dict[str, Any]:
    """Facts of a file that the registry keeps."""
    facts = describe(model)
    known = {name: facts[name] for name in ("e0s", "dtype", "n_parameters", "r_max_ang")}
    known |= {"package_versions": facts.get("package_versions")}
    return {**known, "code_version": version("heo")}


def _tell(line: str | None) -> None:
    """Say a line where it is read: in the log of the flow that runs, else on standard error."""
    if line is None:
        return
    if "prefect.context" in sys.modules:  # without it nothing runs as a flow, and importing it takes seconds
        from prefect.context import TaskRunContext
        from prefect.logging import get_run_logger

        if TaskRunContext.get() is not None:
            get_run_logger().warning(line)
            return
    tell_stderr(line)


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
