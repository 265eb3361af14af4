import os
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from deploy.cli.main import HeoGroup, app
from heo_core.errors import InputError

HEAVY = ("prefect", "torch", "sqlalchemy", "pandas", "numpy", "ase", "pymatgen", "psycopg", "httpx")


def test_the_command_imports_nothing_heavy_to_show_its_help():
    script = f"import deploy.cli.main, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_help_names_the_commands():
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for command in ("quickstart", "up", "down", "status", "db"):
        assert command in result.stdout


def test_unknown_options_and_commands_are_2():
    assert CliRunner().invoke(app, ["up", "--no-such-option"]).exit_code == 2
    assert CliRunner().invoke(app, ["no-such-command"]).exit_code == 2


def test_cations_are_one_list_however_they_are_written():
    for words in (["--cations", "Mg", "Ni,Mg"], ["Mg", "Ni", "Mg"], ["--cations", "Mg,Ni Mg"]):
        result = CliRunner().invoke(app, ["stability", *words, "--n", "2"])
        assert result.exit_code == 2
        assert "cations Mg, Ni, Mg name one twice" in result.output


@pytest.fixture
def faulty():
    """A command line with commands that fail in every way."""
    faulty = typer.Typer(cls=HeoGroup, pretty_exceptions_enable=False)

    @faulty.callback()
    def options(debug: bool = False) -> None:
        pass

    @faulty.command()
    def bad_input() -> None:
        raise InputError("no file [x] is there")

    @faulty.command()
    def bug() -> None:
        raise ValueError("a bug")

    @faulty.command()
    def interrupt() -> None:
        raise KeyboardInterrupt

    @faulty.command()
    def leave() -> None:
        raise typer.Exit(7)

    return faulty


def test_an_expected_error_is_one_line_on_stderr(faulty):
    result = CliRunner().invoke(faulty, ["bad-input"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == "no file [x] is there\n"


def test_an_unexpected_error_offers_the_trace_and_debug_shows_it(faulty):
    quiet = CliRunner().invoke(faulty, ["bug"])
    assert quiet.exit_code == 1
    assert "--debug" in quiet.stderr
    assert "Traceback" not in quiet.stderr
    loud = CliRunner().invoke(faulty, ["--debug", "bug"])
    assert loud.exit_code == 1
    assert "Traceback" in loud.stderr
    assert "ValueError: a bug" in loud.stderr


def test_ctrl_c_is_said_and_130(faulty):
    result = CliRunner().invoke(faulty, ["interrupt"])
    assert result.exit_code == 130
    assert "Interrupted" in result.stderr


def test_a_commands_own_exit_code_is_kept(faulty):
    assert CliRunner().invoke(faulty, ["leave"]).exit_code == 7


def heo(home, *arguments, **variables):
    environment = {**os.environ, "HEO_HOME": str(home), **variables}
    environment.pop("HEO_DATABASE_URL", None)
    command = [sys.executable, "-m", "deploy.cli.main", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_commands_say_what_to_do_where_nothing_was_ever_started(tmp_path):
    for arguments in (("env",), ("db", "url"), ("db", "psql"), ("logs",)):
        result = heo(tmp_path / "none", *arguments)
        assert result.returncode == 3
        assert "run 'heo up'" in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_down_where_nothing_runs_is_no_error_and_makes_no_folder(tmp_path):
    result = heo(tmp_path / "none", "down")
    assert result.returncode == 0
    assert "nothing was running" in result.stdout
    assert not (tmp_path / "none").exists()


def test_status_where_nothing_runs_is_1(tmp_path):
    result = heo(tmp_path / "none", "status", "--json")
    assert result.returncode == 1
    assert '"state": "down"' in result.stdout


def test_a_wrong_port_is_refused_before_anything_starts(tmp_path):
    result = heo(tmp_path, "up", HEO_PREFECT_PORT="no-port")
    assert result.returncode == 3
    assert "HEO_PREFECT_PORT='no-port'" in result.stderr
    assert not (tmp_path / "postgres").exists()


def test_bootstrap_needs_a_server(tmp_path):
    result = heo(tmp_path, "bootstrap", PREFECT_API_URL="")
    assert result.returncode == 2
    assert "PREFECT_API_URL is not set" in result.stderr
