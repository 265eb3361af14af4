"""Many rows at once: their nested lists flattened to numpy arrays, so that a rule costs microseconds a row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from heo_core.elements import SYMBOLS
from heo_core.records import Array

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

_ATOMIC_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS, start=1)}
N_KINDS = len(SYMBOLS) + 1


@dataclass(frozen=True, eq=False)
class Vectors:
    """A column of lists of vectors, such as the forces of n rows with m vectors in all.

    is_null (n,): the row has no list. n_vectors (n,): length of each row's list, 0 for null. row_of (m,): row of each
    vector. n_components (m,): length of each vector, -1 for null. components (k,): all numbers, null as NaN.
    is_hole (k,): the number is null.
    """

    is_null: Bools
    n_vectors: Ints
    row_of: Ints
    n_components: Ints
    components: Array
    is_hole: Bools

    @cached_property
    def is_ragged(self) -> Bools:
        """(n,): some vector is null, or has not three numbers."""
        return self._any_in_row_of_vectors(self.n_components != 3) | self._any_in_row_of_components(self.is_hole)

    @cached_property
    def xyz(self) -> Array:
        """(m, 3); only where no row is ragged."""
        return self.components.reshape(-1, 3)

    @cached_property
    def is_not_finite(self) -> Bools:
        """(n,): some number is not finite."""
        return self._any_in_row_of_components(~np.isfinite(self.components))

    def is_any_longer(self, length: float) -> Bools:
        """(n,): some vector is longer than this; only where no row is ragged."""
        return self._any_in_row_of_vectors(np.linalg.norm(self.xyz, axis=1) > length)

    def _any_in_row_of_vectors(self, holds: Bools) -> Bools:
        """(n,) from (m,)."""
        found = np.zeros(len(self.is_null), dtype=bool)
        found[self.row_of[holds]] = True
        return found

    def _any_in_row_of_components(self, holds: Bools) -> Bools:
        """(n,) from (k,)."""
        rows = np.repeat(self.row_of, np.maximum(self.n_components, 0))
        found = np.zeros(len(self.is_null), dtype=bool)
        found[rows[holds]] = True
        return found


def show_ids(ids: pa.Array) -> list[str]:
    """Ids as text that can be shown and stored: what is no plain text is written out, a long one is cut."""
    texts = ids.cast(pa.binary()).to_pylist()
    return [str(t) if t is None else t[:80].decode(errors="backslashreplace").replace("\0", "\\0") for t in texts]


class RowBatch:
    """Rows in `ROW_SCHEMA`. What is derived from a column is computed once, when it is first asked for."""

    def __init__(self, table: pa.Table) -> None:
        """Take rows; a null or a list of any length is as good as any other value here."""
        self.table = table.combine_chunks()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def filter(self, keep: Bools) -> RowBatch:
        """Rows where keep (n,) is true."""
        return RowBatch(self.table.filter(pa.array(keep)))

    def split(self) -> tuple[RowBatch, RowBatch]:
        """Two halves."""
        half = len(self) // 2
        return RowBatch(self.table.slice(0, half)), RowBatch(self.table.slice(half))

    def show_ids(self) -> list[str]:
        """Return the ids as text that can be shown and stored."""
        return show_ids(self.column("immutable_id"))

    def column(self, name: str) -> pa.Array:
        """One column in one piece."""
        column = self.table.column(name)
        return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)

    def text(self, name: str) -> pa.Array:
        """Return a column of text, null as ''."""
        return pc.fill_null(self.column(name), "")

    def text_lengths(self, name: str) -> Ints:
        """(n,): bytes of a column of text, 0 for null."""
        return np.asarray(pc.binary_length(self.text(name)).to_numpy(zero_copy_only=False), dtype=np.int64)

    def numbers(self, name: str) -> Array:
        """Return a column of numbers (n,), null as NaN."""
        values = pc.fill_null(self.column(name).cast(pa.float64()), np.nan)
        return np.asarray(values.to_numpy(zero_copy_only=False), dtype=float)

    def is_null(self, name: str) -> Bools:
        """(n,): the column has no value there."""
        return _to_bools(self.column(name).is_null())

    @cached_property
    def n_sites(self) -> Ints:
        """(n,): length of species_at_sites, 0 for null."""
        return _lengths(self.column("species_at_sites"), null=0)

    @cached_property
    def sites(self) -> tuple[Ints, Ints, list[str | None]]:
        """Row of each site, index of its symbol, and the symbols."""
        column = self.column("species_at_sites")
        encoded = pc.dictionary_encode(column.flatten(), null_encoding="encode")
        rows = np.repeat(np.arange(len(self)), self.n_sites)
        return rows, encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist()

    @cached_property
    def n_symbols(self) -> Ints:
        """(n,): number of different symbols, whether they are elements or not."""
        rows, indices, symbols = self.sites
        pairs = np.unique(rows * max(len(symbols), 1) + indices)
        return np.bincount(pairs // max(len(symbols), 1), minlength=len(self))

    @cached_property
    def counts(self) -> Ints:
        """(n, 119): atoms of each atomic number; column 0 counts what is no element."""
        rows, indices, symbols = self.sites
        numbers = np.array([_ATOMIC_NUMBERS.get(symbol or "", 0) for symbol in symbols], dtype=np.int64)
        flat = rows * N_KINDS + (numbers[indices] if len(indices) else indices)
        return np.bincount(flat, minlength=len(self) * N_KINDS).reshape(len(self), N_KINDS)

    @cached_property
    def cation_counts(self) -> Ints:
        """(n, 119): the same without oxygen."""
        counts = self.counts.copy()
        counts[:, _ATOMIC_NUMBERS["O"]] = 0
        return counts

    def has_any(self, symbols: frozenset[str]) -> Bools:
        """(n,): the row holds one of these elements."""
        return self.counts[:, [_ATOMIC_NUMBERS[symbol] for symbol in symbols]].any(axis=1)

    @cached_property
    def forces(self) -> Vectors:
        """Forces, eV/Å."""
        return self._vectors("forces")

    @cached_property
    def positions(self) -> Vectors:
        """Cartesian positions, Å."""
        return self._vectors("cartesian_site_positions")

    @cached_property
    def lattice_vectors(self) -> Vectors:
        """Lattice vectors, Å."""
        return self._vectors("lattice_vectors")

    @cached_property
    def lattices(self) -> Array:
        """(n, 3, 3), rows are the lattice vectors, Å; only where every row has three."""
        return self.lattice_vectors.components.reshape(-1, 3, 3)

    def _vectors(self, name: str) -> Vectors:
        column = self.column(name)
        n_vectors = _lengths(column, null=0)
        vectors = column.flatten()
        components = vectors.flatten()
        return Vectors(
            is_null=_to_bools(column.is_null()),
            n_vectors=n_vectors,
            row_of=np.repeat(np.arange(len(self)), n_vectors),
            n_components=_lengths(vectors, null=-1),
            is_hole=_to_bools(components.is_null()),
            components=pc.fill_null(components, np.nan).to_numpy(zero_copy_only=False),
        )


def _lengths(lists: pa.Array, *, null: int) -> Ints:
    lengths = pc.fill_null(pc.list_value_length(lists).cast(pa.int64()), null)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), dtype=np.int64)


def _to_bools(array: pa.Array) -> Bools:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=bool)
