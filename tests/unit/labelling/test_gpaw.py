"""GPAW as a labeller: settings that say all, one process a structure, and failures that are rows."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from flows.settings import Settings
from heo_core.errors import InputError
from heo_core.labelling.engines import GpawEngine
from heo_core.labelling.gpaw_engine import WORKER, find_gpaw_versions, label_with_gpaw, make_settings
from heo_core.params import HUBBARD_U_EV, START_MOMENTS_MUB, GpawParams, hash_json
from heo_core.records import Structure

EDGE = 4.21
# Primitive rock salt; the oxygen is 0.1 Å off its place, along x.
MGO = Structure(
    np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * EDGE / 2,
    np.array([[0, 0, 0], [EDGE / 2 + 0.1, EDGE / 2, EDGE / 2]]),
    ("Mg", "O"),
    "MgO",
    "generated",
)
GPAW_PYTHON = Settings().dft_interpreter
needs_gpaw = pytest.mark.skipif(not GPAW_PYTHON.exists(), reason="GPAW is not installed here: make setup-dft")


def make_executable(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_settings_say_all_that_numbers_depend_on_and_not_how_they_were_asked_for():
    named = make_settings(GpawParams(preset="standard"))
    spelt = make_settings(GpawParams(preset="quick", cutoff_ev=520, kpoints=(3, 3, 3)))
    assert hash_json(named) == hash_json(spelt)
    assert (named["cutoff_ev"], named["kpoints"], named["functional"]) == (520.0, [3, 3, 3], "PBE")
    assert hash_json(make_settings(GpawParams(hubbard_u_ev={"Ni": 6.2}))) != hash_json(named)


def test_every_metal_with_a_u_begins_in_high_spin():
    assert HUBBARD_U_EV.keys() <= {element for element, moment in START_MOMENTS_MUB.items() if moment >= 2}


def test_an_interpreter_without_gpaw_is_a_failure_that_says_so(tmp_path):
    label = label_with_gpaw(MGO, make_settings(GpawParams()), python=Path(sys.executable), log=tmp_path / "log")
    assert label.failure == "ModuleNotFoundError: No module named 'gpaw'"
    assert label.energy_ev is None
    assert label.forces_ev_per_ang is None


@pytest.mark.parametrize(
    ("script", "limit_s", "said"),
    [
        ("echo hello", 60, "said 'hello', not the two versions"),
        ("exec sleep 60", 0.2, "did not say in 0.2 s which GPAW"),
    ],
)
def test_an_interpreter_that_does_not_say_its_versions_is_an_error(tmp_path, script, limit_s, said):
    python = make_executable(tmp_path / "python", script)
    with pytest.raises(InputError, match=f"{python} {said}"):
        find_gpaw_versions(python, limit_s=limit_s)


def test_a_crash_is_a_failure_with_the_last_words(tmp_path):
    python = make_executable(tmp_path / "python", "echo out of memory >&2; kill -9 $$")
    label = label_with_gpaw(MGO, make_settings(GpawParams()), python=python, log=tmp_path / "log")
    assert label.failure == "GPAW ended with exit code -9: out of memory"


def is_alive(pid):
    """Whether a process is there and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_structure_that_takes_too_long_is_given_up_with_its_children(tmp_path):
    python = make_executable(tmp_path / "python", f"sleep 60 & echo $! >{tmp_path}/child; wait")
    label = label_with_gpaw(MGO, make_settings(GpawParams()), python=python, log=tmp_path / "log", limit_s=0.5)
    assert label.failure == "not done after its limit of 0.5 s"
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10  # on a busy machine a killed process lives on until it is its turn
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(child)


def test_a_calculation_ends_when_who_started_it_is_killed():
    command = f"exec 3<&0; {sys.executable} {WORKER} <&3 & echo $!; wait"
    with subprocess.Popen(["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        wait_for_thread(child)
        parent.kill()
        child.wait(timeout=60)


def wait_for_thread(process: psutil.Process) -> None:
    """Wait until the process watches its parent."""
    while process.num_threads() < 2:
        time.sleep(0.05)


def test_no_interpreter_is_an_error_that_names_the_remedy(tmp_path):
    with pytest.raises(InputError, match="make setup-dft"):
        label_with_gpaw(MGO, make_settings(GpawParams()), python=tmp_path / "nothing", log=tmp_path / "log")


@pytest.mark.parametrize(("preset", "is_kept"), [("standard", False), ("stress", True)])
def test_stress_is_kept_only_where_plane_waves_suffice(tmp_path, preset, is_kept):
    reply = {"failure": None, "wall_s": 1.0, "energy_ev": -1.0, "forces_ev_per_ang": [[0, 0, 0]] * 2}
    reply |= {"stress_ev_per_ang3": np.eye(3).tolist(), "moments_mub": [0, 0]}
    python = make_executable(tmp_path / "python", f"echo '{json.dumps(reply)}'")
    settings = make_settings(GpawParams(preset=preset))
    (label,) = GpawEngine(settings, python=python, logs=tmp_path, limit_s=None).label([MGO])
    assert label.energy_ev == -1.0
    assert (label.stress_ev_per_ang3 is not None) is is_kept


@pytest.mark.slow
@needs_gpaw
def test_gpaw_gives_the_numbers_that_it_gave_before(tmp_path):
    params = GpawParams(cutoff_ev=340, kpoints=(2, 2, 2))
    label = label_with_gpaw(MGO, make_settings(params), python=GPAW_PYTHON, log=tmp_path / "log")
    assert label.failure is None
    # As on 2026-11-26 with GPAW 26.7.0. The oxygen is pulled back, along x alone.
    assert label.energy_ev == pytest.approx(-6.935, abs=0.005)
    np.testing.assert_allclose(label.forces_ev_per_ang, [[0.501, 0, 0], [-0.501, 0, 0]], atol=0.005)
    assert np.abs(label.moments_mub).max() < 0.01
    assert [start["start"] for start in label.starts] == ["ferromagnetic"]
    assert label.versions["gpaw-data"]
