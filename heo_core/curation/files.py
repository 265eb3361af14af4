"""The user's own labelled structures as rows: extxyz, ASE databases and VASP outputs, one file or a folder of them.

Labels are read as MACE reads them: `REF_energy`, `REF_forces` and `REF_stress` where a frame has them, else what ASE
calls energy, forces and stress (eV, eV/Å, eV/Å³ in ASE's sign). Forces are those on the atoms, whatever is held fixed.

Of a VASP run only the last ionic step is read: the end point that the run was made for. Its energy is the one
extrapolated to sigma = 0 (`e_0_energy`): what ASE returns by default, what pymatgen's `Vasprun.final_energy` is, and so
what the Materials Project and Alexandria give LeMat-Bulk as uncorrected energy. As both do, it is made of
`e_fr_energy` of the step and of the differences in its last electronic step, because VASP 5 mislabels the others.

One broken frame or run is a row without the values that could not be read, for a rule to reject and count. A file that
is nothing of the kind raises SourceError.
"""

from __future__ import annotations

import gzip
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from io import StringIO, TextIOWrapper
from itertools import batched
from pathlib import Path
from typing import IO, Any, TextIO
from urllib.parse import quote
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow as pa

from heo_core.curation.rows import make_table
from heo_core.errors import SourceError, first_line
from heo_core.records import Array

type Row = dict[str, Any]

ALLOWED = "*.xyz, *.extxyz, *.db (an ASE database), vasprun.xml, OUTCAR (also .gz), or a folder of them"

# The first names a row. The others often name a material, and then stand at many frames of one file.
_IDENTITY_KEY, _ID_KEYS = "immutable_id", ("material_id", "id", "name")
_FINGERPRINT_KEYS = ("fingerprint", "entalpic_fingerprint", "bawl_fingerprint")
_VASP_KIND = re.compile(r"vasprun\.xml|OUTCAR")
# vasprun.xml, run1_vasprun.xml, OUTCAR.relax2, but not what is kept beside them, such as OUTCAR.md5.
_VASP_NAME = re.compile(
    rf"(.*[._-])?({_VASP_KIND.pattern})([._-](?!(txt|log|csv|json|html|png|pdf|md5|sha\d+|tmp|swp)$)[\w-]+)?"
)
_NUMBER_OF_ATOMS = re.compile(r"\s*\d{1,9}\s*")
_CUT_SHORT = (EOFError, zlib.error, gzip.BadGzipFile)


def is_label_file(path: Path) -> bool:
    """Whether a file's name is one that is read here; nothing is opened."""
    name = path.name.removesuffix(".gz")
    return name.endswith((".xyz", ".extxyz")) or path.name.endswith(".db") or _is_vasp(path)


def list_label_files(path: Path) -> list[Path]:
    """Those of a folder and all below it, sorted, hidden ones passed over; of a file itself, if it is one, else none.

    Of several outputs of one VASP run, vasprun.xml counts before OUTCAR (which has five decimals) and a plain file
    before a compressed one. Raises SourceError when the path does not exist.
    """
    if path.is_file():
        return [path] if is_label_file(path) else []
    if not path.is_dir():
        raise SourceError(f"{str(path)!r} does not exist; allowed: {ALLOWED}")
    best: dict[tuple[Path, str], Path] = {}
    for file in sorted(path.rglob("*")):
        if any(part.startswith(".") for part in file.relative_to(path).parts) or not is_label_file(file):
            continue
        # One run in one folder: vasprun.xml.relax2.gz and OUTCAR.relax2.
        name = file.name.removesuffix(".gz")
        run = (file.parent, _VASP_KIND.sub("/", name, count=1) if _is_vasp(file) else name)
        if file.is_file() and (run not in best or _rank(file) < _rank(best[run])):
            best[run] = file
    return sorted(best.values())


def count_rows(path: Path) -> int | None:
    """Return the number of rows of a file or folder; None where all would have to be read to know."""
    counts = [_count_file(file) for file in list_label_files(path)]
    known = [n for n in counts if n is not None]
    return sum(known) if len(known) == len(counts) else None


def iter_tables(path: Path, rows_per_table: int = 500, *, root: Path | None = None) -> Iterator[pa.Table]:
    """Tables in `ROW_SCHEMA` of at most `rows_per_table` rows, of a file or of all files below a folder.

    No more than a table, one frame and one ionic step are held at a time.

    A row's id is its `immutable_id`, else its `material_id`, `id` or `name` (with the frame's number from the second
    frame of a file on that has it), else made of its place: `own-train-7` is frame 7 of train.xyz, `own-a:b` the run in
    a/b/vasprun.xml. The place is told from `root`: the folder given, or the folder that holds the file.

    `functional` is a frame's own, or of a vasprun.xml one of pbe, pbesol, scan, r2scan where it surely is; as in
    LeMat-Bulk, +U makes no difference to it. A run whose last electronic loop did not converge has no labels.

    Raises SourceError, naming the file, when one cannot be opened or is not what its name says.
    """
    root = root or (path if path.is_dir() else path.parent)
    rows = (row for file in ([path] if path.is_file() else list_label_files(path)) for row in _iter_rows(file, root))
    for batch in batched(rows, rows_per_table):
        yield make_table(batch)


def _iter_rows(file: Path, root: Path) -> Iterator[Row]:
    read: Callable[[Path, str], Iterator[Row]]
    if _is_vasp(file):
        read = _iter_outcar if "OUTCAR" in file.name else _iter_vasprun
    elif file.name.endswith(".db"):
        read = _iter_database
    elif is_label_file(file):
        read = _iter_extxyz
    else:
        raise SourceError(f"{file} cannot be read; allowed: {ALLOWED}")
    try:
        yield from read(file, _make_id(file, root))
    except (OSError, sqlite3.Error) as exc:
        raise SourceError(f"{file} cannot be read: {first_line(exc)}") from exc


def _is_vasp(path: Path) -> bool:
    return _VASP_NAME.fullmatch(path.name.removesuffix(".gz")) is not None


def _rank(file: Path) -> tuple[bool, bool]:
    return "OUTCAR" in file.name, file.name.endswith(".gz")


def _count_file(file: Path) -> int | None:
    if _is_vasp(file):
        return 1
    if not file.name.endswith(".db"):
        return None
    with _connect_read_only(file) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM systems").fetchone()[0])


def _make_id(file: Path, root: Path) -> str:
    """Id made of the place of a file below root: one id a place, in letters that any file format takes."""
    *folders, name = file.relative_to(root).parts
    if not _is_vasp(file):
        parts = [*folders, Path(name.removesuffix(".gz")).stem]
    elif folders and _VASP_KIND.fullmatch(name.removesuffix(".gz")):
        parts = folders
    else:
        parts = [*folders, name.removesuffix(".gz")]
    return "own-" + ":".join(quote(part, safe="", errors="surrogateescape") for part in parts)


# --- extxyz


def _iter_extxyz(file: Path, file_id: str) -> Iterator[Row]:
    seen: set[str] = set()
    index = 0
    with _open_text(file) as stream:
        try:
            for frame in _iter_frames(stream):
                yield _read_frame(frame, f"{file_id}-{index}", index, seen)
                index += 1
        except (ValueError, *_CUT_SHORT) as exc:
            if index == 0:
                raise SourceError(f"{file} is no extxyz file: {first_line(exc)}") from exc
            yield {"immutable_id": f"{file_id}-{index}"}


def _iter_frames(stream: TextIO) -> Iterator[list[str]]:
    """Lines of each frame. One that lacks lines ends where the next begins; stray lines between two are one too.

    ValueError if the first line is no number of atoms.
    """
    frame: list[str] = []
    n_lines = 0
    is_first, is_stray = True, False
    for line in stream:
        begins = _NUMBER_OF_ATOMS.fullmatch(line) is not None
        # Inside a frame only the comment, its second line, could be a bare number.
        if len(frame) < n_lines and not (begins and len(frame) > 1):
            frame.append(line)
            continue
        if frame:
            yield frame
        frame, n_lines = ([line], 2 + int(line)) if begins else ([], 0)
        if not begins and line.strip():
            if is_first:
                raise ValueError(f"expected a number of atoms, found {line.strip()[:40]!r}")
            if not is_stray:
                yield [line]
        is_stray = not begins and (is_stray or bool(line.strip()))
        is_first = is_first and not line.strip()
    if frame:
        yield frame


def _read_frame(lines: list[str], default_id: str, index: int, seen: set[str]) -> Row:
    from ase.io.extxyz import key_val_str_to_dict, read_xyz

    try:
        atoms = next(read_xyz(StringIO("".join(lines)), index=0))
    except Exception:  # noqa: BLE001 - whatever ASE stumbles over, the frame is broken
        try:
            info = key_val_str_to_dict("".join(lines[1:2]))
        except Exception:  # noqa: BLE001
            info = {}
        return {"immutable_id": _find_id(info, default_id, index, seen)}
    results = atoms.calc.results if atoms.calc else {}
    values = {**atoms.info, **atoms.arrays, **results}
    return _make_row(
        _find_id(atoms.info, default_id, index, seen),
        species=atoms.get_chemical_symbols(),
        lattice=atoms.cell.array,
        positions=atoms.positions,
        n_periodic=int(atoms.pbc.sum()),
        values=values,
    )


# --- ASE databases


def _iter_database(file: Path, file_id: str) -> Iterator[Row]:
    from ase.db import connect

    with _connect_read_only(file) as connection:
        row_ids = [int(row_id) for (row_id,) in connection.execute("SELECT id FROM systems ORDER BY id")]
    seen: set[str] = set()
    # One at a time: a row that ASE cannot decode would end a query for all.
    with connect(file, type="db", use_lock_file=False) as database:
        for index, row_id in enumerate(row_ids):
            default_id = f"{file_id}-{index}"
            try:
                row = _read_database_row(database.get(id=row_id), default_id, index, seen)
            except Exception:  # noqa: BLE001 - whatever ASE stumbles over, the row is broken
                row = {"immutable_id": default_id}
            yield row


def _connect_read_only(file: Path) -> closing[sqlite3.Connection]:
    """Connect to an ASE database; SourceError if it is none (ASE itself would then write its tables into the file)."""
    try:
        connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)
        connection.execute("SELECT id, numbers, positions, cell, pbc FROM systems LIMIT 1")
    except sqlite3.Error as exc:
        raise SourceError(f"{file} is no ASE database: {first_line(exc)}") from exc
    return closing(connection)


def _read_database_row(row: Any, default_id: str, index: int, seen: set[str]) -> Row:
    info = {**row.data, **row.key_value_pairs}
    results = {name: row.get(name) for name in ("energy", "forces", "stress") if row.get(name) is not None}
    return _make_row(
        _find_id(info, default_id, index, seen),
        species=row.symbols,
        lattice=row.cell,
        positions=row.positions,
        n_periodic=int(np.sum(row.pbc)),
        values={**info, **results},
    )


# --- VASP


def _iter_vasprun(file: Path, file_id: str) -> Iterator[Row]:
    try:
        with _open_binary(file) as stream:
            yield _read_vasprun(stream, file_id)
    except (ET.ParseError, *_CUT_SHORT) as exc:
        if not _starts_like(file, b"<?xml", b"<modeling") or "expected <modeling>" in str(exc):
            raise SourceError(f"{file} is no vasprun.xml: {first_line(exc)}") from exc
        yield {"immutable_id": file_id}


def _read_vasprun(stream: IO[bytes], row_id: str) -> Row:
    settings: dict[str, str] = {}
    species: list[str] = []
    pseudopotentials: list[str] = []
    last: dict[str, Any] | None = None
    has_root = False
    for event, element in ET.iterparse(stream, events=("start", "end")):  # noqa: S314 - the user's own file
        if event == "start":
            if not has_root and element.tag != "modeling":
                raise ET.ParseError(f"expected <modeling>, found <{element.tag}>")
            has_root = True
            continue
        match element.tag:
            case "incar" | "parameters":  # incar stands first, and counts
                for item in element.iter("i"):
                    settings.setdefault(item.get("name", ""), (item.text or "").strip())
            case "atominfo":
                species = [(c.text or "").strip() for c in element.iterfind("array[@name='atoms']/set/rc/c[1]")]
                types = element.iterfind("array[@name='atomtypes']/set/rc/c[5]")
                pseudopotentials = [(c.text or "").strip() for c in types]
            case "calculation":
                last = _read_ionic_step(element, settings)
                element.clear()
            case "dos" | "eigenvalues" | "projected":
                element.clear()
    functional = _find_functional(settings, pseudopotentials)
    if last is None:
        return {"immutable_id": row_id, "functional": functional}
    return _make_row(row_id, species=species, n_periodic=3, **last, functional=functional)


def _read_ionic_step(step: ET.Element, settings: dict[str, str]) -> dict[str, Any]:
    lattice = _read_vectors(step.find("structure/crystal/varray[@name='basis']"))
    fractional = _read_vectors(step.find("structure/varray[@name='positions']"))
    values: dict[str, Any] = {}
    if _is_converged(step, settings):
        stress = _read_vectors(step.find("varray[@name='stress']"))
        values = {
            "energy": _read_energy(step, settings, lattice),
            "forces": _read_vectors(step.find("varray[@name='forces']")),
            "stress": None if stress is None else -_KBAR * stress,
        }
    positions = None if lattice is None or fractional is None else fractional @ lattice
    return {"lattice": lattice, "positions": positions, "values": values}


_KBAR = 0.1 / 160.21766208
"""eV/Å³"""


def _is_converged(step: ET.Element, settings: dict[str, str]) -> bool:
    """Whether the electronic loop ended before NELM, as pymatgen tells it; linear response adds steps of its own."""
    n_steps, most = len(step.findall("scstep")), settings.get("NELM", "")
    return not most.isdigit() or n_steps < int(most) or settings.get("LEPSILON") == "T"


def _read_energy(step: ET.Element, settings: dict[str, str], lattice: Array | None) -> float | None:
    """Energy at sigma = 0, eV, without the p·V that a run under PSTRESS has in it; None where a part is missing."""
    electronic = step.findall("scstep/energy")
    try:
        free = float(step.findtext("energy/i[@name='e_fr_energy']", ""))
        to_zero = [float(electronic[-1].findtext(f"i[@name='{name}']", "")) for name in ("e_0_energy", "e_fr_energy")]
        pressure = float(settings.get("PSTRESS", 0))
    except (IndexError, ValueError):
        return None
    if pressure:
        if lattice is None:
            return None
        free -= pressure * _KBAR * abs(float(np.linalg.det(lattice)))
    return round(free + to_zero[0] - to_zero[1], 8)


def _read_vectors(element: ET.Element | None) -> Array | None:
    """(n, 3), or None where there is no table of three numbers a line (VASP prints stars for what does not fit)."""
    if element is None:
        return None
    try:
        vectors = np.array([[float(x) for x in (v.text or "").split()] for v in element.iterfind("v")], dtype=float)
    except ValueError:
        return None
    return vectors if vectors.ndim == 2 and vectors.shape[1] == 3 else None


def _find_functional(settings: dict[str, str], pseudopotentials: list[str]) -> str | None:
    """One of LeMat-Bulk's words, or None where the settings leave room for doubt."""

    def get(name: str) -> str:
        text = settings.get(name, "").upper()
        return "" if text in {"--", "-", "NONE", "F", "0"} else text

    if get("LHFCALC") or get("LUSE_VDW") or get("IVDW"):
        return None
    if get("METAGGA"):
        return {"SCAN": "scan", "R2SCAN": "r2scan"}.get(get("METAGGA"))
    if get("GGA"):
        return {"PE": "pbe", "PS": "pbesol"}.get(get("GGA"))
    return "pbe" if pseudopotentials and all(p.startswith("PAW_PBE") for p in pseudopotentials) else None


def _iter_outcar(file: Path, file_id: str) -> Iterator[Row]:
    from ase.io.vasp_parsers.vasp_outcar_parsers import OutcarHeaderParser, outcarchunks

    try:
        converged = _scan_outcar(file)
        with _open_text(file) as stream:
            # No folder for the header: ASE would look for constraints in a CONTCAR, and stumble over an empty one.
            last = None
            for last in outcarchunks(stream, header_parser=OutcarHeaderParser(workdir=None)):  # noqa: B007
                pass
        atoms = last.build() if last and converged is not None else None
    except (SourceError, PermissionError):
        raise
    except Exception:  # noqa: BLE001 - whatever ASE stumbles over, the run is broken
        atoms = None
    if atoms is None:
        yield {"immutable_id": file_id}
        return
    yield _make_row(
        file_id,
        species=atoms.get_chemical_symbols(),
        lattice=atoms.cell.array,
        positions=atoms.positions,
        n_periodic=3,
        values=atoms.calc.results if converged else {},
    )


def _scan_outcar(file: Path) -> bool | None:
    """Whether the last electronic loop converged; None if the run did not come to its end."""
    converged, ended = False, False
    if not _starts_like(file, b"vasp", b"running on"):
        raise SourceError(f"{file} is no OUTCAR: it does not begin as VASP's do")
    with _open_text(file) as stream:
        for line in stream:
            if "Iteration" in line:
                converged = False
            elif "aborting loop because EDIFF is reached" in line:
                converged = True
            elif "General timing and accounting" in line:
                ended = True
    return converged if ended else None


# --- all


def _make_row(
    row_id: str,
    *,
    species: list[str],
    lattice: Any,
    positions: Any,
    n_periodic: int,
    values: dict[str, Any],
    functional: str | None = None,
) -> Row:
    return {
        "immutable_id": row_id,
        "source": _to_text(values.get("source")) or "own",
        "nelements": len(set(species)),
        "nperiodic_dimensions": n_periodic,
        "lattice_vectors": _to_vectors(lattice),
        "cartesian_site_positions": _to_vectors(positions),
        "species_at_sites": species,
        "energy": _to_number(_find(values, "REF_energy", "energy")),
        "forces": _to_vectors(_find(values, "REF_forces", "forces")),
        "stress_tensor": _to_stress(_find(values, "REF_stress", "stress")),
        "functional": functional or _to_text(values.get("functional")),
        "fingerprint": _to_text(_find(values, *_FINGERPRINT_KEYS)),
    }


def _find(values: dict[str, Any], *names: str) -> Any:
    """Return the first of the values that is there."""
    return next((values[name] for name in names if values.get(name) is not None), None)


def _find_id(info: dict[str, Any], default: str, index: int, seen: set[str]) -> str:
    identity = _to_text(info.get(_IDENTITY_KEY))
    if identity:
        return identity
    named = next((text for key in _ID_KEYS if (text := _to_text(info.get(key)))), None)
    if named is None:
        return default
    is_first = named not in seen
    seen.add(named)
    return named if is_first else f"{named}-{index}"


def _to_text(value: Any) -> str | None:
    """Text of a text or whole number; None of anything else (ASE makes True of a key without a value)."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    if not isinstance(value, str):
        return None
    return value.encode(errors="replace").decode() or None


def _to_number(value: Any) -> float | None:
    try:
        return None if value is None or isinstance(value, str | bool) else float(value)
    except (TypeError, ValueError):
        return None


def _to_array(value: Any) -> Array | None:
    try:
        return np.array(value, dtype=float)
    except (TypeError, ValueError):
        return None


def _to_vectors(value: Any) -> list[list[float]] | None:
    array = None if value is None else _to_array(value)
    vectors: list[list[float]] | None = None if array is None or array.ndim != 2 else array.tolist()
    return vectors


def _to_stress(value: Any) -> list[list[float]] | None:
    """(3, 3) of ASE's six numbers (xx, yy, zz, yz, xz, xy), of nine, or of (3, 3)."""
    array = None if value is None else _to_array(value)
    if array is not None and array.shape == (6,):
        array = array[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
    elif array is not None and array.shape == (9,):
        array = array.reshape(3, 3)
    return None if array is None or array.shape != (3, 3) else _to_vectors(array)


def _open_binary(file: Path) -> IO[bytes]:
    """Open a file, compressed by gzip or not, whatever its name says."""
    with file.open("rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(file, "rb") if compressed else file.open("rb")  # type: ignore[return-value]


def _open_text(file: Path) -> TextIO:
    return TextIOWrapper(_open_binary(file), encoding="utf-8", errors="replace")


def _starts_like(file: Path, *beginnings: bytes) -> bool:
    """Whether one of these is in the first line; an empty file, as a run that never began leaves it, passes."""
    try:
        with _open_binary(file) as stream:
            start = stream.read(1000).lstrip()
    except _CUT_SHORT:
        return True
    return not start or any(beginning in start.split(b"\n")[0] for beginning in beginnings)
