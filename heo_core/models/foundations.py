"""The published models that can be named by a reference: what each was trained on, its energy scale, its licence.

The weights of mace-torch's foundations are fetched from the addresses that mace-torch itself holds. Energies on
different scales are never compared directly: another functional, another set of pseudopotentials or the absence of a
Hubbard U each make another scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Literal

EnergyScale = Literal["pbe-uncorrected", "mp2020-corrected", "pbe-omat24", "pbe-matpes", "r2scan-matpes"]

ASL = "ASL (academic, non-commercial)"

_MACE_MP = "Batatia et al., arXiv:2401.00096 (2023)"
_OMAT = f"{_MACE_MP}; data: Barroso-Luque et al., arXiv:2410.12771 (2024)"
_MATPES = f"{_MACE_MP}; data: Kaplan et al., arXiv:2503.04070 (2025)"


@dataclass(frozen=True)
class Foundation:
    """A published model.

    mace_name: its key in mace-torch's table of addresses; None where the weights are part of a package. energy_scale:
    what its energies are relative to. functional, trained_on, citation: for people to read.
    """

    reference: str
    family: Literal["mace", "chgnet", "sevennet"]
    mace_name: str | None
    licence: str
    energy_scale: EnergyScale
    functional: str
    trained_on: str
    citation: str

    @property
    def notice(self) -> str | None:
        """What a user must be told before use; None where the licence asks for no more than to be kept."""
        if self.licence != ASL:
            return None
        return (
            f"{self.reference} is under the Academic Software License (ASL): for academic, non-commercial use only; "
            "who uses it accepts the terms at https://github.com/gabor1/ASL"
        )


def _mace_mp(size: str, trained_on: str = "MPtrj") -> Foundation:
    return Foundation(
        f"mace-mp:{size}", "mace", size, "MIT", "pbe-uncorrected", "PBE(+U)", trained_on, citation=_MACE_MP
    )


FOUNDATIONS = {
    foundation.reference: foundation
    for foundation in (
        Foundation(
            "heo-mini",
            "mace",
            None,
            "MIT",
            "pbe-uncorrected",
            "PBE(+U), as learned by SevenNet 7net-0",
            "cells labelled by SevenNet 7net-0, no DFT",
            citation="heo's own; see heo_core/assets/heo-mini/README.md",
        ),
        _mace_mp("small"),
        _mace_mp("medium"),
        _mace_mp("large"),
        _mace_mp("medium-0b3"),
        _mace_mp("medium-mpa-0", trained_on="MPtrj and sAlex"),
        *(
            Foundation(
                f"mace-omat-0:{size}",
                "mace",
                f"{size}-omat-0",
                ASL,
                "pbe-omat24",
                "PBE(+U), pseudopotentials of VASP 54",
                "OMat24",
                citation=_OMAT,
            )
            for size in ("small", "medium")
        ),
        Foundation(
            "mace-matpes:pbe",
            "mace",
            "mace-matpes-pbe-0",
            ASL,
            "pbe-matpes",
            "PBE without U",
            "OMat24, then MatPES-PBE",
            citation=_MATPES,
        ),
        Foundation(
            "mace-matpes:r2scan",
            "mace",
            "mace-matpes-r2scan-0",
            ASL,
            "r2scan-matpes",
            "r2SCAN",
            "OMat24, then MatPES-r2SCAN",
            citation=_MATPES,
        ),
        Foundation(
            "chgnet:0.3.0",
            "chgnet",
            None,
            "BSD-3-Clause",
            "mp2020-corrected",
            "PBE(+U) with the MP2020 corrections",
            "MPtrj",
            citation="Deng et al., Nat. Mach. Intell. 5, 1031 (2023)",
        ),
        Foundation(
            "sevennet:7net-0",
            "sevennet",
            None,
            "MIT",
            "pbe-uncorrected",
            "PBE(+U)",
            "MPtrj",
            citation="Park et al., J. Chem. Theory Comput. 20, 4857 (2024)",
        ),
    )
}


def _list_references() -> str:
    """All references, those of one family joined: mace-omat-0:small|medium."""
    families = groupby(FOUNDATIONS, key=lambda reference: reference.partition(":")[0])
    shown = {name: "|".join(reference.partition(":")[2] for reference in members) for name, members in families}
    return ", ".join(f"{name}:{variants}" if variants else name for name, variants in shown.items())


ALLOWED_REFERENCES = f"{_list_references()}, file:PATH, registry:NAME@VERSION or NAME@VERSION of a registered model"
