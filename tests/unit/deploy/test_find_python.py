"""deploy/find_python.sh against fake interpreters, which answer what a real one of some version would."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "deploy" / "find_python.sh"

# Answers the script's two questions: is the version within the limits, and is ensurepip there.
FAKE = """#!/bin/sh
case "$2" in
*version_info*) [ {minor} -ge 12 ] && [ {minor} -le "$3" ] && echo "$0" ;;
*ensurepip*) {has_venv} ;;
*) echo "Python 3.{minor}.0" ;;
esac
"""
BROKEN_SHIM = "#!/bin/sh\necho 'pyenv: command not found' >&2\nexit 127\n"


def write_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def fake_python(path: Path, minor: int, *, has_venv: bool = True) -> Path:
    return write_program(path, FAKE.format(minor=minor, has_venv="true" if has_venv else "false"))


@pytest.fixture
def programs(tmp_path):
    """A folder that holds the script's ordinary tools and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "tail"):
        (folder / tool).symlink_to(str(shutil.which(tool)))
    return folder


def find(programs: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": str(programs), "HOME": str(programs.parent / "home"), **environment}
    sh = str(shutil.which("sh"))
    return subprocess.run([sh, str(SCRIPT)], env=variables, capture_output=True, text=True, check=False)


def test_an_interpreter_on_path_is_found(programs):
    expected = fake_python(programs / "python3.12", 12)
    assert find(programs).stdout.strip() == str(expected)


def test_too_old_and_too_new_interpreters_are_passed_over(programs):
    fake_python(programs / "python3", 11)
    fake_python(programs / "python3.14", 15)
    expected = fake_python(programs / "python", 13)
    assert find(programs).stdout.strip() == str(expected)


def test_a_shim_that_fails_is_passed_over(programs):
    write_program(programs / "python3.12", BROKEN_SHIM)
    expected = fake_python(programs / "python3.13", 13)
    assert find(programs).stdout.strip() == str(expected)


def test_a_version_with_sure_wheels_in_pyenv_is_preferred_to_a_newer_one_on_path(programs, tmp_path):
    newer = fake_python(programs / "python3.14", 14)
    assert find(programs).stdout.strip() == str(newer)
    expected = fake_python(tmp_path / "pyenv root" / "versions" / "3.12.9" / "bin" / "python", 12)
    assert find(programs, PYENV_ROOT=str(tmp_path / "pyenv root")).stdout.strip() == str(expected)


def test_pyenv_in_the_home_folder_is_found(programs):
    expected = fake_python(programs.parent / "home" / ".pyenv" / "versions" / "3.13.0" / "bin" / "python", 13)
    assert find(programs).stdout.strip() == str(expected)


def test_the_variable_overrides_everything(programs, tmp_path):
    fake_python(programs / "python3.12", 12)
    expected = fake_python(tmp_path / "mine" / "python", 14)
    assert find(programs, PYTHON=str(expected)).stdout.strip() == str(expected)


def test_a_wrong_variable_is_an_error_that_names_it(programs, tmp_path):
    fake_python(programs / "python3.12", 12)
    old = fake_python(tmp_path / "old", 9)
    result = find(programs, PYTHON=str(old))
    assert result.returncode == 1
    assert f"PYTHON={old}" in result.stderr
    assert "Python 3.9.0" in result.stderr


def test_an_interpreter_without_venv_is_passed_over_and_named_if_it_is_the_only_one(programs):
    lacking = fake_python(programs / "python3.12", 12, has_venv=False)
    result = find(programs)
    assert result.returncode == 1
    assert f"{lacking} has no ensurepip" in result.stderr
    expected = fake_python(programs / "python3.13", 13)
    assert find(programs).stdout.strip() == str(expected)


def test_uv_is_asked_last(programs, tmp_path):
    managed = fake_python(tmp_path / "managed" / "python", 12)
    marker = tmp_path / "installed"
    write_program(
        programs / "uv",
        f"""#!/bin/sh
case "$2" in
install) : >{marker} ;;
find) [ -e {marker} ] && echo {managed} ;;
esac
""",
    )
    result = find(programs)
    assert result.stdout.strip() == str(managed)
    assert marker.exists()


def test_nothing_at_all_is_one_clear_error(programs):
    result = find(programs)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "heo needs Python 3.12" in result.stderr


def test_the_script_finds_a_real_interpreter():
    if os.environ.get("PYTHON"):
        pytest.skip("PYTHON is set")
    result = subprocess.run(["sh", str(SCRIPT)], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        pytest.skip("this machine has none outside the running environment")
    found = result.stdout.strip()
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    assert version.startswith(("Python 3.12", "Python 3.13", "Python 3.14"))
