"""The bundled reference sets: labelled cells on which every model is measured, whatever it was trained on.

The labels of a set come from one named source, a potential or DFT, so that errors of different models are over the same
truth; README.md and card.json beside the files say which, how many, and how they were made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from heo_core.assets import REFERENCE_DIR
from heo_core.curation.rows import iter_structures
from heo_core.errors import InputError
from heo_core.records import BenchmarkCase, Structure

REFERENCE_SETS = ("off-equilibrium", "holdout", "equation-of-state", "dft-offeq")
_RECIPE = ("kind", "prototype", "material", "volume_factor")


def load_reference_set(name: str, folder: Path = REFERENCE_DIR) -> list[BenchmarkCase]:
    """Cells of a set in a fixed order; each recipe says kind and prototype, and names the set by its content hash.

    Of the equation of state it also says the material and the volume over the reference's relaxed one. InputError for
    an unknown name.
    """
    import pyarrow.parquet as pq

    if name not in REFERENCE_SETS:
        msg = f"there is no reference set {name!r}; there is: {', '.join(REFERENCE_SETS)}"
        raise InputError(msg)
    table = pq.read_table(folder / f"{name}.parquet")
    structures = list(iter_structures(table.append_column("fingerprint", [[None] * len(table)])))
    recipes = table.select(list(_RECIPE)).to_pylist()
    about = {"reference_set": name, "sha256": hash_structures(structures)}
    return [
        BenchmarkCase(structure, None, about | {key: value for key, value in recipe.items() if value is not None})
        for structure, recipe in zip(structures, recipes, strict=True)
    ]


def hash_structures(structures: Iterable[Structure]) -> str:
    """Sha256 of a set: geometry and labels of all its structures, independent of their order and of the file format."""
    return hashlib.sha256("\n".join(sorted(s.content_hash for s in structures)).encode()).hexdigest()
