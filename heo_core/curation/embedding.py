"""The picture of a dataset's chemistry: compositions as vectors of element properties, then in two dimensions."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np

from heo_core.errors import InputError
from heo_core.records import Array

# With fewer different compositions there are no neighbourhoods for UMAP to keep.
_LEAST_FOR_UMAP = 10
_N_NEIGHBORS = 15
_TABLE = "data/element_representations/magpie.csv"


def embed_compositions(fractions: Sequence[Mapping[str, float]]) -> Array:
    """Composition-weighted mean of the elements' magpie vectors, standardised per column: (n, 22), no unit.

    fractions: element -> share, any positive scale. A value that the table lacks (elements beyond Bk) takes no part in
    the mean; where no element of a composition has one, the composition gets the mean of the column, that is 0. A
    column that is the same for all is 0; so is everything for a single composition. No composition gives (0, 22).
    Source: Ward et al., npj Comput. Mater. 2, 16028 (2016), as in the package elementembeddings. InputError when that
    package is missing.
    """
    vectors = _load_element_vectors()
    n_features = len(next(iter(vectors.values())))
    means = np.full((len(fractions), n_features), np.nan)
    for row, composition in enumerate(fractions):
        shares = {element: share for element, share in composition.items() if share > 0 and element in vectors}
        if shares:
            means[row] = _average(np.array([vectors[element] for element in shares]), np.array(list(shares.values())))
    return _standardise(means)


def project(vectors: Array, method: Literal["pca", "umap"], seed: int) -> Array:
    """Place vectors (n, d) on a plane: (n, 2), no unit. Equal vectors get equal places; one or none gets 0.

    pca: the two directions of largest variance; of each the sign is such that its largest component is positive. A
    direction that the vectors lack is 0. seed is not used.
    umap: McInnes et al., arXiv 1802.03426, started from the PCA; the same seed gives the same places. With fewer than
    ten different vectors there is nothing for it to learn, and the result is the PCA. InputError when umap-learn is
    missing.
    """
    if method == "pca":
        return _project_linearly(vectors)
    distinct, rows = np.unique(vectors, axis=0, return_inverse=True)
    if len(distinct) < _LEAST_FOR_UMAP:
        return _project_linearly(vectors)
    return _project_by_neighbours(distinct, seed)[rows.ravel()]


def _average(values: Array, weights: Array) -> Array:
    """Mean over the rows of values (n_elements, d) that leaves missing ones out; nan where all are missing."""
    known = np.isfinite(values)
    total = weights @ known
    sums = weights @ np.where(known, values, 0.0)
    return np.asarray(np.divide(sums, total, out=np.full(values.shape[1], np.nan), where=total > 0))


def _standardise(means: Array) -> Array:
    known = np.isfinite(means)
    n_known = np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, means - np.where(known, means, 0.0).sum(axis=0) / n_known, 0.0)
    deviation = np.sqrt((centred**2).sum(axis=0) / n_known)
    # Rounding leaves a column of equal values with a deviation that is not quite zero.
    largest = np.abs(np.where(known, means, 0.0)).max(axis=0, initial=0.0)
    return np.asarray(np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 1e-12 * largest))


def _project_linearly(vectors: Array) -> Array:
    places = np.zeros((len(vectors), 2))
    if len(vectors) < 2:
        return places
    centred = vectors - vectors.mean(axis=0)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    kept = int((lengths[:2] > 1e-12 * np.abs(vectors).max(initial=0.0) * np.sqrt(vectors.size)).sum())
    directions = directions[:kept]
    if kept:
        largest = np.abs(directions).argmax(axis=1)
        signs = np.sign(directions[np.arange(kept), largest])
        places[:, :kept] = centred @ (directions * signs[:, None]).T
    return places


def _project_by_neighbours(vectors: Array, seed: int) -> Array:
    with warnings.catch_warnings():
        # umap says at import that it does without tensorflow, which its parametric variant alone would use.
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        try:
            from umap import UMAP
        except ImportError as exc:
            raise InputError("the map by UMAP needs the package umap-learn: pip install 'heo[map]'") from exc
    start = _project_linearly(vectors)
    reducer = UMAP(
        n_neighbors=min(_N_NEIGHBORS, len(vectors) - 1),
        init=10 * start / np.abs(start).max(),
        random_state=seed,
        n_jobs=1,
    )
    return np.asarray(reducer.fit_transform(vectors), dtype=float)


@cache
def _load_element_vectors() -> dict[str, Array]:
    """Read the table itself: the package's own loader imports umap, which takes seconds."""
    try:
        text = (files("elementembeddings") / _TABLE).read_text(encoding="utf-8")
    except (ModuleNotFoundError, FileNotFoundError) as exc:
        raise InputError("the map of compositions needs the package elementembeddings: pip install 'heo[map]'") from exc
    _, *rows = csv.reader(text.splitlines())
    return {element: np.array([_read_number(value) for value in values]) for element, *values in rows if element}


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan
