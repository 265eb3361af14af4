"""What a report builds on and how to cite it: software, models and data, with their entries in citations.bib."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from heo_core.reporting.data import ReportData, as_text


class Source(NamedTuple):
    """Something to cite. key: of its BibTeX entry; what: a few words; licence: None where none is needed."""

    key: str
    what: str
    licence: str | None

    @property
    def bibtex(self) -> str:
        """Its entry in citations.bib."""
        return _read_entries()[self.key]


SOURCES = (
    Source("mace", "MACE, the architecture of the models", "MIT (mace-torch)"),
    Source("mace_mp", "MACE-MP-0, the foundation models", "MIT; ASL for the OMAT and MatPES models"),
    Source("chgnet", "CHGNet, a reference or a model here", "BSD-3-Clause"),
    Source("sevennet", "SevenNet 7net-0", "MIT (sevenn 0.13)"),
    Source("lemat_bulk", "LeMat-Bulk, the DFT labels", "CC-BY-4.0"),
    Source("gpaw", "GPAW, which computed the labels by DFT", "GPL-3.0-or-later"),
    Source("torch_sim", "torch-sim, which relaxes many structures at a time", "MIT"),
    Source("ase", "ASE, the Atomic Simulation Environment", "LGPL-2.1-or-later"),
    Source("pymatgen", "pymatgen, for compositions and crystals", "MIT"),
    Source("matbench_discovery", "Matbench Discovery, which defined the normalised RMSD", "MIT"),
    Source("magpie", "Magpie element properties, behind the picture of the dataset's chemistry", None),
    Source("umap", "UMAP, which brought it to two dimensions", "BSD-3-Clause"),
    Source("threedmol", "3Dmol.js, which draws the structures of this page", "BSD-3-Clause"),
)


@cache
def _read_entries() -> dict[str, str]:
    text = Path(__file__).with_name("citations.bib").read_text(encoding="utf-8")
    entries = [entry.strip() for entry in text.split("\n\n")]
    return {entry[entry.index("{") + 1 : entry.index(",")]: entry for entry in entries}


def list_sources(data: ReportData) -> list[Source]:
    """Return what this report used, in the order of `SOURCES`."""
    labels = set(_list_labels(data))
    used = {"ase", "pymatgen", *_list_models(data), *labels, *_list_methods(data)}
    roles = " and ".join(_list_roles_of_sevennet(data, labels))
    return [
        source._replace(what=f"{source.what}, {roles}") if source.key == "sevennet" else source
        for source in SOURCES
        if source.key in used
    ]


def _list_roles_of_sevennet(data: ReportData, labels: set[str]) -> Iterator[str]:
    is_model = _has_family(data, "sevennet")
    if is_model:
        yield "which is a model here"
    if "sevennet" in labels:
        yield "which made the surrogate labels"
    elif not is_model:
        yield "whose labels heo-mini was trained on"


def _has_family(data: ReportData, family: str) -> bool:
    return family in set(data.models["family"].astype(str))


def _list_models(data: ReportData) -> Iterator[str]:
    columns = (
        data.models["name"],
        data.models["parent"],
        data.training_runs["foundation"],
        data.benchmarks["reference"],
    )
    names = " ".join(str(name) for column in columns for name in column.dropna()).lower()
    if _has_family(data, "mace"):
        yield "mace"
    if re.search(r"mace-(mp|omat|matpes)", names):
        yield "mace_mp"
    if "chgnet" in names or _has_family(data, "chgnet"):
        yield "chgnet"
    if "heo-mini" in names or _has_family(data, "sevennet"):
        yield "sevennet"


def _list_labels(data: ReportData) -> Iterator[str]:
    dataset = data.dataset or {}
    parts = (dataset.get("source_uri"), dataset.get("citation"), *(dataset.get("functionals") or []))
    parts += tuple(name for benchmark in data.benchmarks["benchmark"] for name in data.list_functionals(str(benchmark)))
    about = " ".join(as_text(part) or "" for part in parts).lower()
    if "sevennet" in about or "7net" in about:
        yield "sevennet"
    if "lemat" in about:
        yield "lemat_bulk"
    if "gpaw" in about or "gpaw" in set(data.labelled_minima["engine"]):
        yield "gpaw"


def _list_methods(data: ReportData) -> Iterator[str]:
    if len(data.relaxations) or len(data.own_relaxations):
        yield "torch_sim"
    if data.relaxations["rmsd_normalized"].notna().any():
        yield "matbench_discovery"
    methods = set(data.structures["map_method"].dropna().astype(str))
    if methods:
        yield "magpie"
    if "umap" in methods:
        yield "umap"
    if len(data.sample_cells) or len(data.relaxed_cells):
        yield "threedmol"
