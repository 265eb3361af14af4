"""Generated cells as files for other programs, written by ASE."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from heo_core.errors import InputError
from heo_core.records import Structure
from heo_core.whole_file import replacing

FileFormat = Literal["extxyz", "cif", "poscar"]
WRITERS: dict[FileFormat, tuple[str, str, dict[str, Any]]] = {
    "extxyz": ("extxyz", ".extxyz", {}),
    "cif": ("cif", ".cif", {}),
    "poscar": ("vasp", ".vasp", {"direct": True, "sort": True}),
}
"""What ASE calls a format, the ending of its files, and options of its writer."""


def write_cells(cells: Sequence[tuple[Structure, dict[str, Any]]], path: Path, file_format: FileFormat) -> int:
    """Write cells into one file (a path that ends in .extxyz or .xyz) or into a folder, one file each; return how many.

    In extxyz each frame carries its name and recipe. InputError for what cannot be written there.
    """
    from ase import Atoms
    from ase.io import write

    frames = [
        Atoms(
            list(structure.species),
            positions=structure.positions,
            cell=structure.lattice,
            pbc=True,
            info={"name": structure.immutable_id, "recipe": recipe},
        )
        for structure, recipe in cells
    ]
    try:
        if path.suffix in {".extxyz", ".xyz"}:
            with replacing(path) as partial:
                write(partial, frames, format="extxyz")
            return len(frames)
        name, ending, options = WRITERS[file_format]
        for (_, recipe), frame in zip(cells, frames, strict=True):
            with replacing(path / f"cell-{recipe['cell']:04d}{ending}") as partial:
                write(partial, frame, format=name, **options)
    except OSError as exc:
        raise InputError(f"cannot write {path}: {exc.strerror or exc}") from exc
    return len(frames)
