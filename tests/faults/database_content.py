"""What two databases hold, compared row by row: whatever became of the processes, the rows must be the same.

Rows are matched by what they mean (a structure by its content, an evaluation by its model and benchmark), for ids
depend on how often something was tried. Times, and what says on which try or machine a row was made, are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import Column, Table, select

from db.engine import session_scope
from db.schema import Base

NATURAL_KEYS = {
    "structure": ("content_hash",),
    "dataset": ("name", "version"),
    "model_version": ("name", "version"),
    "training_run": ("key",),
    "benchmark": ("name", "version"),
    "evaluation": ("model_version_id", "benchmark_id", "replaces_id"),
}
OF_A_TRY = {
    *("id", "flow_run_id", "n_resumes", "log_tail", "created_at", "started_at", "finished_at"),
    *("wall_s", "train_s", "seconds", "code_version", "package_versions", "versions"),
    # Two threads add up in any order: a model trained twice differs by 1e-6, and what it predicts is compared.
    *("sha256", "artifact_uri"),
}
RTOL, ATOL = 1e-5, 1e-7  # a batch that is cut elsewhere adds up in another order

Rows = dict[tuple[Any, ...], dict[str, Any]]


@dataclass
class Difference:
    """Rows by table and meaning that are missing, too many, or other than they should be."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.changed)


class Content:
    """All rows of a database."""

    def __init__(self, url: str) -> None:
        self.tables: dict[str, tuple[Counter[tuple[Any, ...]], Rows]] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {}
        with session_scope(url) as session:
            for table in Base.metadata.sorted_tables:
                self._rows[table.name] = [dict(row) for row in session.execute(select(table)).mappings()]
        self._by_id = {name: {row["id"]: row for row in rows if "id" in row} for name, rows in self._rows.items()}
        for table in Base.metadata.sorted_tables:
            rows = [(self._key(table, row), self._facts(table, row)) for row in self._rows[table.name]]
            self.tables[table.name] = (Counter(key for key, _ in rows), dict(rows))

    def count(self) -> int:
        """Count the rows of all tables."""
        return sum(map(len, self._rows.values()))

    def _key(self, table: Table, row: dict[str, Any]) -> tuple[Any, ...]:
        names = NATURAL_KEYS.get(table.name) or [column.name for column in table.primary_key]
        return tuple(self._resolve(table.columns[name], row[name]) for name in names)

    def _facts(self, table: Table, row: dict[str, Any]) -> dict[str, Any]:
        return {
            column.name: self._resolve(column, row[column.name])
            for column in table.columns
            if column.name not in OF_A_TRY
        }

    def _resolve(self, column: Column[Any], value: Any) -> Any:
        """Replace the id of another row by what that row means."""
        other = next((key.column.table for key in column.foreign_keys), None)
        return value if other is None or value is None else self._key(other, self._by_id[other.name][value])


def compare(expected: Content, found: Content) -> Difference:
    """Say how what was found differs from what was expected."""
    difference = Difference()
    for table, (wanted, facts) in expected.tables.items():
        counted, other = found.tables[table]
        difference.lost += [f"{table} {key}" for key in (wanted - counted).elements()]
        difference.doubled += [f"{table} {key}" for key in (counted - wanted).elements()]
        for key in wanted.keys() & counted.keys():
            for name in _list_differing(facts[key], other[key]):
                difference.changed.append(f"{table} {key} {name}: {facts[key][name]!r:.60} is {other[key][name]!r:.60}")
    return difference


def _list_differing(facts: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    return (name for name, value in facts.items() if not _is_same(value, other[name]))


def _is_same(a: Any, b: Any) -> bool:
    if a == b:
        return True
    try:
        one, two = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    except (TypeError, ValueError):
        return False
    return one.shape == two.shape and np.allclose(one, two, rtol=RTOL, atol=ATOL, equal_nan=True)
