"""All labelled structures of a file or folder, of whatever composition: what a user's own benchmark is measured on."""

from __future__ import annotations

from pathlib import Path

from heo_core.curation.dataset import curate
from heo_core.curation.sources import open_source
from heo_core.errors import InputError
from heo_core.params import CurationParams, RuleParams
from heo_core.records import Structure

# Quality alone: a benchmark may be of any composition, and energies may be missing where only forces are compared.
_RULES = RuleParams(min_elements=0, require_oxygen=False, only_metals=False, require_energy=False)


def read_labelled(path: Path) -> list[Structure]:
    """Structures with forces, in extxyz, an ASE database, vasprun.xml, OUTCAR or parquet, without repeated rows.

    SourceError for a path that is not there or is nothing of the kind; InputError, with the rules that its rows break,
    where none can be used.
    """
    params = CurationParams(name="benchmark", source=str(path.expanduser().absolute()), rules=_RULES, map="none")
    found = curate(open_source(params), params)
    structures = [member.structure for member in found.iter_members()]
    if not structures:
        reasons = ", ".join(f"{rejection.rule} ({rejection.n_rejected})" for rejection in found.rejections)
        raise InputError(f"none of the {found.n_scanned} structures of {path} can be used: {reasons}")
    return structures
