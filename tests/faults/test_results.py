"""What the suite of kills found, as it stands in the document."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

from kills import KINDS, plan
from results import DOCS, FOLDER, Kill, write_tables

KILL = Kill("abc", 7, 0, "curate", "Postgres", "SIGINT", 1.5, 30.0, 1, "COMPLETED", 0, 0, 0, 0, "")


def test_the_tables_of_the_document_are_those_of_what_was_found(tmp_path: Path) -> None:
    document = shutil.copy(DOCS / "reliability.md", tmp_path)
    write_tables(Path(document), FOLDER)
    assert Path(document).read_text() == (DOCS / "reliability.md").read_text()


def test_suites_beside_each_other_add_to_one_file_and_read_back_what_they_wrote(tmp_path: Path) -> None:
    file = tmp_path / "kills.csv"
    Kill.append(file, [KILL])
    Kill.append(file, [KILL, KILL])
    assert Kill.read(file) == [KILL] * 3


def test_forty_five_runs_kill_each_kind_thirty_times_and_are_fifteen_of_each_stage() -> None:
    plans = [plan(number) for number in range(45)]
    kinds = Counter(kind.name for _, planned in plans for kind in planned)
    assert kinds == {kind.name: 30 for kind in KINDS}
    assert set(Counter(stage for stage, _ in plans).values()) == {15}
