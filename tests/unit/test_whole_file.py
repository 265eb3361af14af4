"""A file is there whole or not at all, whoever else writes beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from heo_core.whole_file import PARTIAL, replacing


def read_all(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_writers_of_one_path_and_of_one_stem_do_not_meet(tmp_path: Path) -> None:
    (tmp_path / "cells.partial").write_text("mine")
    with replacing(tmp_path / "cells.csv") as first, replacing(tmp_path / "cells.extxyz") as other:
        first.write_text("first")
        with replacing(tmp_path / "cells.csv") as second:
            second.write_text("second")
        other.write_text("other")
    assert read_all(tmp_path) == {"cells.csv": "first", "cells.extxyz": "other", "cells.partial": "mine"}


def test_what_breaks_off_leaves_the_old_file_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def write_half() -> None:
        with replacing(tmp_path / "a.txt") as partial:
            partial.write_text("ne")
            assert partial.name.startswith(PARTIAL)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert read_all(tmp_path) == {"a.txt": "old"}


def test_a_file_may_be_read_by_whom_any_new_file_may(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        (tmp_path / "ordinary").touch()
        with replacing(tmp_path / "whole"):
            pass
        with replacing(tmp_path / "private", mode=0o600):
            pass
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"ordinary": 0o640, "whole": 0o640, "private": 0o600}
