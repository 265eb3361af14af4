"""A registered model as a file for other programs, with a card beside it that says all that is known of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heo_core.errors import InputError, ModelError
from heo_core.records import ModelFile
from heo_core.whole_file import replacing


def export_model(
    model: ModelFile, label: str, card: Mapping[str, Any], out: Path | None = None, *, force: bool = False
) -> tuple[Path, Path]:
    """Write the file of a model and its card; return both paths. Exporting the same again changes nothing in the file.

    label: NAME@VERSION. card: what stands in the JSON file of the same name. out: file or folder; None: the folder that
    the process is in. Each file appears whole or not at all. ModelError, naming both hashes, if the stored file is not
    the registered one; InputError if there is no file, or if another one would be overwritten and force is not given.
    """
    if model.path is None or model.sha256 is None:
        raise InputError(f"{label} has no file: its weights are part of the package of {model.family}")
    source = Path(model.path)
    target = _find_target(source, label, out)
    try:
        content = source.read_bytes()
    except OSError as exc:
        raise ModelError(f"model file {source} cannot be read: {exc.strerror}") from exc
    found = hashlib.sha256(content).hexdigest()
    if found != model.sha256:
        raise ModelError(f"model file {source} has changed: its sha256 is {found}, registered is {model.sha256}")
    card_path = target.with_suffix(".json")
    is_there = target.exists() and _hash(target) == found
    if not force:
        if target.exists() and not is_there:
            raise InputError(f"{target} is another file than {label}: choose another with --out, or give --force")
        if card_path.exists() and _read_sha256(card_path) != found:
            raise InputError(f"{card_path} is no card of {label}: choose another place with --out, or give --force")
    try:
        if not is_there:
            with replacing(target) as partial:
                partial.write_bytes(content)
        with replacing(card_path) as partial:
            partial.write_text(json.dumps(card, indent=2, default=str, ensure_ascii=False) + "\n", encoding="utf-8")
    except (FileExistsError, NotADirectoryError, PermissionError) as exc:
        raise InputError(f"{target} cannot be written: {exc.strerror} ({exc.filename})") from exc
    return target, card_path


def _find_target(source: Path, label: str, out: Path | None) -> Path:
    path = (out or Path()).expanduser()
    if path.is_dir():
        path /= label.replace("@", "-") + source.suffix
    if path.suffix != source.suffix:
        raise InputError(f"{path} does not end in {source.suffix}; allowed: a folder, or a file that does")
    return path.resolve()


def _hash(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path} is no file: choose another place with --out")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_sha256(card_path: Path) -> str | None:
    """Sha256 that a card names; None for a file that is no card."""
    try:
        card = json.loads(card_path.read_bytes())
    except (OSError, ValueError):
        return None
    return card.get("sha256") if isinstance(card, dict) else None
