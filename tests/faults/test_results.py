"""What the suite of kills found, as it stands in the document."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from kills import KINDS, plan
from results import DOCS, FOLDER, Kill, make_tables, write_tables
from suite import find_commit

KILL = Kill("abc", 7, 0, "curate", "Postgres", "SIGINT", 1.5, 30.0, 1, "COMPLETED", 0, 0, 0, 0, "")
LEFT = {"left_behind": 1}


def test_the_tables_of_the_document_are_those_of_what_was_found(tmp_path: Path) -> None:
    document = shutil.copy(DOCS / "reliability.md", tmp_path)
    write_tables(Path(document), FOLDER)
    assert Path(document).read_text() == (DOCS / "reliability.md").read_text()


def test_seconds_are_of_runs_that_ended_by_themselves_and_the_others_are_counted_beside() -> None:
    given_up = [replace(KILL, number=n, end_s=900.0, **how) for n, how in ((2, {"state": "CRASHED"}), (3, LEFT))]
    table = make_tables([KILL, replace(KILL, number=1, end_s=50.0), *given_up], []).splitlines()
    names, values = ([cell.strip() for cell in line.split("|")] for line in (table[0], table[2]))
    row = dict(zip(names, values, strict=True))
    assert (row["runs"], row["ended by itself"], row["did not"]) == ("4", "2", "2")
    assert (row["s to its end: median"], row["largest"]) == ("40", "50")


def test_a_line_names_the_commit_that_was_tested_and_other_code_is_not_tested(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        named = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments]
        return subprocess.run(named, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    (tmp_path / "docs" / "reliability").mkdir(parents=True)
    (tmp_path / "code.py").write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "one")
    (tmp_path / "docs" / "reliability" / "kills.csv").write_text("a line of the suite itself")
    assert find_commit(tmp_path) == git("rev-parse", "--short", "HEAD")
    (tmp_path / "code.py").write_text("2")
    with pytest.raises(SystemExit, match=r"commit these first:\n M code.py"):
        find_commit(tmp_path)


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
