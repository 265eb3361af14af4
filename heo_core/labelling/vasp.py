"""VASP, which is run elsewhere by those who have a licence: its inputs are written here, its finished runs read."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from heo_core.curation.files import iter_tables, list_label_files
from heo_core.errors import InputError, SourceError
from heo_core.evaluation.relax_files import name_files
from heo_core.labelling.label import Label
from heo_core.records import Structure

FUNCTIONAL = "vasp"

# Materials Project starts cobalt at 0.6 μB, from which it falls into low spin.
_COBALT_MUB = 5.0
_EDIFF_EV = 1e-6

# What a total energy depends on beside structure, k-points, pseudopotentials and U.
_TAGS = (
    *("ENCUT", "GGA", "METAGGA", "LHFCALC", "AEXX", "HFSCREEN", "IVDW", "LUSE_VDW", "LSORBIT", "ISPIN", "LASPH"),
    *("ISMEAR", "SIGMA", "PREC", "LREAL", "LDAUTYPE"),
)
_BY_ELEMENT = ("pseudopotentials", "hubbard_u_ev", "hubbard_j_ev")


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run: structure without labels, labels or why there are none, and where it was."""

    structure: Structure
    label: Label
    path: Path


def write_inputs(structures: Sequence[Structure], folder: Path) -> list[Path]:
    """Write the inputs of a static calculation for each structure, a folder each; return the folders.

    Materials Project's settings (`MPStaticSet`: PBE+U, 520 eV, spin-polarised), cobalt begun in high spin, EDIFF 1e-6.
    POTCAR.spec names the pseudopotentials in place of POTCAR, which the licence keeps. InputError where it cannot be
    written, or Materials Project has no pseudopotential for an element.
    """
    from pymatgen.core import Lattice
    from pymatgen.core import Structure as Crystal
    from pymatgen.io.vasp.sets import MPStaticSet

    moments = {**MPStaticSet.CONFIG["INCAR"]["MAGMOM"], "Co": _COBALT_MUB}
    changes = {"EDIFF": _EDIFF_EV, "MAGMOM": moments}
    folders = []
    for structure, name in zip(structures, name_files(structures), strict=True):
        crystal = Crystal(Lattice(structure.lattice), structure.species, structure.positions, coords_are_cartesian=True)
        place = folder / name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of pymatgen, about what only a POTCAR could tell
                inputs = MPStaticSet(crystal, user_incar_settings=changes)  # sorted: one block a type
                inputs.write_input(place, potcar_spec=True)
        except OSError as exc:
            raise InputError(f"cannot write {place}: {exc.strerror or exc}") from exc
        except KeyError as exc:
            raise InputError(f"{structure.immutable_id}: Materials Project has no VASP settings for {exc}") from exc
        folders.append(place)
    return folders


def read_runs(folder: Path) -> tuple[list[Run], dict[str, Any], dict[Path, str]]:
    """Read every vasprun.xml of a folder and those below it.

    Return the runs, the settings that they share, and why other files hold none. A run that did not converge is there
    with its reason. InputError, naming the run, where two differ in what their energies depend on: they belong into two
    label sets; SourceError for a folder without any.
    """
    files = [file for file in list_label_files(folder) if "vasprun" in file.name]
    if not files:
        raise SourceError(f"{folder} holds no vasprun.xml; allowed: a finished run, or a folder of them")
    runs: list[Run] = []
    left_out: dict[Path, str] = {}
    shared: dict[str, Any] = {}
    for file in files:
        try:
            settings = read_settings(file)
        except ET.ParseError as exc:
            left_out[file] = f"it is cut off or no XML: {exc}"
            continue
        (row,) = [row for table in iter_tables(file, root=folder) for row in table.to_pylist()]
        if not row["lattice_vectors"] or not row["cartesian_site_positions"]:
            left_out[file] = "it has no finished ionic step"
            continue
        _merge(shared, settings, file)
        structure = Structure(
            lattice=np.array(row["lattice_vectors"]),
            positions=np.array(row["cartesian_site_positions"]),
            species=tuple(row["species_at_sites"]),
            immutable_id=row["immutable_id"],
            source="generated",
        )
        runs.append(Run(structure, _make_label(row), file))
    if not runs:
        raise SourceError(f"{folder} holds no finished run: {_name_first(left_out)}")
    return runs, shared, left_out


def _name_first(left_out: dict[Path, str]) -> str:
    file, reason = next(iter(left_out.items()))
    return f"{file}: {reason}"


def read_settings(file: Path) -> dict[str, Any]:
    """Read what the energies of a run depend on: tags of its INCAR, pseudopotential and U (eV) of each element."""
    tags: dict[str, str] = {}
    vectors: dict[str, list[float]] = {}
    types: list[str] = []
    pseudopotentials: dict[str, str] = {}
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        for _, element in ET.iterparse(stream):  # noqa: S314 the user's own file
            match element.tag:
                case "incar" | "parameters":  # incar stands first, and counts
                    for item in element.iter("i"):
                        tags.setdefault(item.get("name", ""), (item.text or "").strip())
                    for vector in element.iter("v"):
                        if (name := vector.get("name")) in {"LDAUU", "LDAUJ"}:
                            vectors.setdefault(name, [float(value) for value in (vector.text or "").split()])
                case "atominfo":
                    for row in element.iterfind("array[@name='atomtypes']/set/rc"):
                        _, symbol, _, _, title = ((column.text or "").strip() for column in row)
                        types.append(symbol)  # the same element may be several types
                        pseudopotentials[symbol] = title
                case "calculation":
                    break
    has_u = tags.get("LDAU") == "T"
    u, j = (dict(zip(types, vectors.get(name, ()), strict=False)) if has_u else {} for name in ("LDAUU", "LDAUJ"))
    tags["ENCUT"] = tags.get("ENMAX", tags.get("ENCUT", ""))  # what was used, also where INCAR leaves it to POTCAR
    return {
        **{tag: _to_number(tags[tag]) for tag in _TAGS if tag in tags},
        "pseudopotentials": pseudopotentials,
        "hubbard_u_ev": {element: value for element, value in u.items() if value},
        "hubbard_j_ev": {element: value for element, value in j.items() if value},
    }


def _merge(shared: dict[str, Any], settings: dict[str, Any], file: Path) -> None:
    """Add what a run says of its elements; InputError for what differs from the runs before."""
    if not shared:
        shared |= settings
        return
    both = shared["pseudopotentials"].keys() & settings["pseudopotentials"]
    for key in sorted(settings.keys() | shared):
        one, other = shared.get(key), settings.get(key)
        if key in _BY_ELEMENT:
            one, other = ({symbol: values.get(symbol) for symbol in both} for values in (shared[key], settings[key]))
        if one != other:
            raise InputError(
                f"{file} has {key} {other}, the runs before it {one}: energies of two scales are never mixed; import "
                "them as two label sets"
            )
    for key in _BY_ELEMENT:
        shared[key] |= settings[key]


def _to_number(value: str) -> float | str:
    """Return the number that a tag holds, so that 520 and 520.00000000 are one; else its words."""
    try:
        return float(value)
    except ValueError:
        return value


def _make_label(row: dict[str, Any]) -> Label:
    if row["energy"] is None or not row["forces"]:
        return Label(None, "the run did not converge, or has no forces")
    stress = row["stress_tensor"]
    return Label(
        wall_s=None,
        energy_ev=row["energy"],
        forces_ev_per_ang=np.array(row["forces"]),
        stress_ev_per_ang3=None if stress is None else np.array(stress),
    )
