"""Structures of users' files, read by ASE: what its readers do with odd files is met here."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, cast

from heo_core.errors import InputError, first_line

if TYPE_CHECKING:
    from ase import Atoms

READABLE = "CIF, POSCAR, extxyz, ASE database or any other format that ASE knows"


def read_atoms(path: Path) -> list[Atoms]:
    """All structures of a file. InputError, naming it and what is allowed, for whatever its reader stumbles over."""
    from ase.io import read

    try:
        if path.suffix in {".xyz", ".extxyz"}:
            _check_frames(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of readers, about what a file leaves out
            found = read(path, index=":", do_not_split_by_at_sign=True)
    except Exception as exc:  # each of ASE's readers fails in its own way
        reason = getattr(exc, "strerror", None) or first_line(exc)
        raise InputError(f"{path} cannot be read as {READABLE}: {reason}") from exc
    return cast("list[Atoms]", found)


def _check_frames(path: Path) -> None:
    """ValueError for a frame that says it has more atoms than the file has lines: ASE would look for them for ever."""
    with path.open("rb") as stream:
        lines = list(stream)
    here = 0
    while here < len(lines) and (word := lines[here].strip()).isdigit():
        if int(word) > (left := max(len(lines) - here - 2, 0)):
            raise ValueError(f"a frame says that it has {word[:20].decode()} atoms, and {left} lines are left")
        here += 2 + int(word)


def has_shared_sites(atoms: Atoms) -> bool:
    """Whether elements share a site or leave it partly empty; an occupancy that is not given, also as . or ?, is 1."""
    return any(
        len(kinds) > 1 or any(isinstance(share, int | float) and share < 1 for share in kinds.values())
        for kinds in atoms.info.get("occupancy", {}).values()
    )
