"""What a user relaxes and gets back as files: structures as ASE reads them, relaxed ones, trajectories, a summary."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heo_core.errors import InputError
from heo_core.records import Array, Frame, Relaxation, Structure
from heo_core.structures.files import WRITERS, FileFormat
from heo_core.structures.reading import has_shared_sites, read_atoms
from heo_core.whole_file import replacing

if TYPE_CHECKING:
    from ase import Atoms

_ENDINGS = {".cif", ".vasp", ".poscar", ".xyz", ".extxyz", ".db", ".json", ".traj", ".xml"}


@dataclass(frozen=True, eq=False)
class StartStructure:
    """A structure of a file, or why there is none. name: the file's, with #N where it holds several."""

    name: str
    file: str
    frame: int
    structure: Structure | None = None
    failure: str | None = None


def read_structures(paths: Sequence[Path]) -> list[StartStructure]:
    """All structures of files that ASE can read (CIF, POSCAR, extxyz, ASE database, ...), in their order.

    What cannot be relaxed is there with its reason, and the others are not lost: no such file, unreadable, empty, not
    periodic in three dimensions, sites that elements share. Files of one name are told apart by their folder.
    """
    counts = Counter(path.name for path in paths)
    found: list[StartStructure] = []
    seen: Counter[str] = Counter()
    for path in paths:
        name = path.name if counts[path.name] == 1 else f"{path.resolve().parent.name}-{path.name}"
        seen[name] += 1
        found += _read_file(path, name if seen[name] == 1 else f"{seen[name]}-{name}")
    return found


def _read_file(path: Path, name: str) -> Iterator[StartStructure]:
    try:
        frames = read_atoms(path)
    except InputError as exc:
        yield StartStructure(name, str(path), 0, failure=str(exc))
        return
    if not frames:
        yield StartStructure(name, str(path), 0, failure=f"{path} holds no structure")
    for number, atoms in enumerate(frames):
        own_name = name if len(frames) == 1 else f"{name}#{number + 1}"
        obstacle = _find_obstacle(atoms)
        if obstacle is not None:
            where = str(path) if len(frames) == 1 else f"structure {number + 1} of {path}"
            yield StartStructure(own_name, str(path), number, failure=f"{where} {obstacle}")
            continue
        structure = Structure(np.array(atoms.cell), atoms.positions, tuple(atoms.symbols), own_name, "file")
        yield StartStructure(own_name, str(path), number, structure)


def _find_obstacle(atoms: Atoms) -> str | None:
    if len(atoms) == 0:
        return "holds no atoms"
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        return "is not periodic in three dimensions"
    if has_shared_sites(atoms):
        return (
            "has sites that elements share or that are partly empty: give it one element a site, for example by "
            "'heo structures generate --parent FILE'"
        )
    return None


def write_relaxed(
    folder: Path, starts: Sequence[Structure], relaxations: Sequence[Relaxation], file_format: FileFormat
) -> list[Path | None]:
    """Write the final state of each relaxation into a folder, a file each; return their paths, None without a state.

    Files are called after the structures. extxyz carries energy, forces and stress, whether it converged and why not.
    InputError for what cannot be written.
    """
    writer, ending, options = WRITERS[file_format]
    paths: list[Path | None] = []
    for start, name, relaxation in zip(starts, name_files(starts), relaxations, strict=True):
        if relaxation.lattice is None or relaxation.positions is None:
            paths.append(None)
            continue
        atoms = _make_atoms(
            start.species,
            relaxation.lattice,
            relaxation.positions,
            energy=relaxation.energy_final_ev,
            forces=relaxation.forces_ev_per_ang,
            stress=relaxation.stress_ev_per_ang3,
        )
        atoms.info |= {
            "name": start.immutable_id,
            "converged": relaxation.converged,
            "force_calls": relaxation.force_calls,
            **({} if relaxation.failure is None else {"failure": relaxation.failure}),
        }
        paths.append(folder / f"{name}{ending}")
        _write(folder / f"{name}{ending}", [atoms], writer, options)
    return paths


def write_trajectory(path: Path, species: Sequence[str], trajectory: Sequence[Frame]) -> None:
    """Write every state of a relaxation as extxyz, which ASE, OVITO and others open. InputError if it cannot be."""
    frames = [
        _make_atoms(
            species,
            frame.lattice,
            frame.positions,
            energy=frame.energy_ev,
            forces=frame.forces_ev_per_ang,
            stress=frame.stress_ev_per_ang3,
        )
        for frame in trajectory
    ]
    _write(path, frames, "extxyz", {})


def write_summary(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of equal keys as CSV. InputError if it cannot be written."""
    try:
        with replacing(path) as partial, partial.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    except OSError as exc:
        raise InputError(f"cannot write {path}: {exc.strerror or exc}") from exc


def name_files(structures: Sequence[Structure]) -> list[str]:
    """Name the structures' own files, without an ending, each once: MgO.cif#2 is MgO-2.

    Where two would have one name, as MgO.cif and MgO.vasp, their endings are kept in it: MgO-cif and MgO-vasp.
    """
    short = [_spell(stem, frame) for stem, _, frame in map(_take_apart, structures)]
    counts = Counter(name.lower() for name in short)  # some file systems do not tell a from A
    names: list[str] = []
    taken: set[str] = set()
    for structure, name in zip(structures, short, strict=True):
        stem, ending, frame = _take_apart(structure)
        wanted = name if counts[name.lower()] == 1 else _spell(f"{stem}-{ending[1:]}" if ending else stem, frame)
        chosen = wanted or "structure"
        number = 2
        while chosen.lower() in taken:
            chosen = f"{wanted or 'structure'}-{number}"
            number += 1
        taken.add(chosen.lower())
        names.append(chosen)
    return names


def _take_apart(structure: Structure) -> tuple[str, str, str]:
    """Stem, ending and number of the frame of where a structure comes from; empty where there is none."""
    name, _, frame = structure.immutable_id.partition("#")
    path = Path(name)
    return (path.stem, path.suffix, frame) if path.suffix.lower() in _ENDINGS else (name, "", frame)


def _spell(stem: str, frame: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{stem}-{frame}" if frame else stem).strip("-.")


def _make_atoms(
    species: Sequence[str],
    lattice: Array,
    positions: Array,
    *,
    energy: float | None,
    forces: Array | None,
    stress: Array | None,
) -> Atoms:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress

    atoms = Atoms(list(species), positions=positions, cell=lattice, pbc=True)
    voigt = None if stress is None else full_3x3_to_voigt_6_stress(stress)
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=voigt)
    return atoms


def _write(path: Path, frames: list[Atoms], writer: str, options: dict[str, Any]) -> None:
    from ase.io import write

    try:
        with replacing(path) as partial:
            write(partial, frames, format=writer, **options)
    except OSError as exc:
        raise InputError(f"cannot write {path}: {exc.strerror or exc}") from exc
