"""deploy/setup.sh where everything is installed already."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "deploy" / "setup.sh"


def run(checkout: Path, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", command], cwd=checkout, capture_output=True, text=True, check=True)


def note_installed(checkout: Path, venv: str, *own: str) -> None:
    """Note that an environment was made for what the files of the checkout say now."""
    files = " ".join(("pyproject.toml", "constraints.txt", *own))
    (checkout / venv / ".heo-installed").write_text(run(checkout, f"{{ pwd -P; cat {files}; }} | cksum").stdout)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with two environments, whose interpreters do nothing."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(SCRIPT, tmp_path / "deploy")
    for name in ("pyproject.toml", "constraints.txt", "constraints-sevennet.txt"):
        (tmp_path / name).write_text(name)
    for venv in (".venv", ".venv-sevennet"):
        (tmp_path / venv / "bin").mkdir(parents=True)
        (tmp_path / venv / "bin" / "python").symlink_to("/bin/true")
    note_installed(tmp_path, ".venv")
    note_installed(tmp_path, ".venv-sevennet", "constraints-sevennet.txt")
    return tmp_path


def test_what_is_installed_for_these_requirements_is_left_as_it_is(checkout: Path) -> None:
    done = run(checkout, "sh deploy/setup.sh && sh deploy/setup.sh sevennet")
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("changed", ["constraints.txt", "constraints-sevennet.txt"])
def test_the_other_environment_is_told_of_when_requirements_have_changed(checkout: Path, changed: str) -> None:
    (checkout / changed).write_text("numpy==1")
    note_installed(checkout, ".venv")
    told = run(checkout, "sh deploy/setup.sh").stderr
    assert told == "==> .venv-sevennet was made for other requirements than heo has now: run 'make setup-sevennet'\n"
    note_installed(checkout, ".venv-sevennet", "constraints-sevennet.txt")
    assert run(checkout, "sh deploy/setup.sh").stderr == ""
