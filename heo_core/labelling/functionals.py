"""What the functional of a structure says of where its labels come from."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

Origin = Literal["dft", "surrogate", "unknown"]

BY_POTENTIAL = " (potential)"
"""How the functional of labels by a potential ends; before it stands the model."""

_DFT = frozenset({"pbe", "pbesol", "scan", "r2scan", "pbe+u", "lda", "pbe+u (gpaw)", "vasp"})


def classify_functional(name: str) -> Origin:
    """Tell labels of density-functional theory from those of a potential; unknown for any other name."""
    known = name.lower()
    if "surrogate" in known or known.endswith(BY_POTENTIAL):
        return "surrogate"
    return "dft" if known in _DFT else "unknown"


def classify_functionals(names: Collection[str]) -> Origin:
    """Tell where labels of several functionals come from: surrogate if any does, dft if there are some and all do."""
    found = {classify_functional(name) for name in names}
    if "surrogate" in found:
        return "surrogate"
    return "dft" if found == {"dft"} else "unknown"
