import os
import sys

import pytest

from deploy.services import workers as module
from deploy.services.gpus import choose_gpus, list_gpus
from deploy.services.state import ServicesState, WorkerState
from deploy.services.workers import list_workers, living
from heo_core.errors import InputError


@pytest.fixture(autouse=True)
def checkout(tmp_path, monkeypatch):
    """A checkout without environments of its own."""
    monkeypatch.setattr(module, "CHECKOUT", tmp_path)
    return tmp_path


def keys(gpus):
    return [worker.key for worker in list_workers(gpus)]


def test_each_of_several_gpus_has_a_worker_and_one_or_none_has_the_plain_one():
    assert keys([]) == keys(["0"]) == ["cpu", "gpu"]
    assert keys(["0", "3"]) == ["cpu", "gpu-0", "gpu-3"]


def test_a_pool_of_another_environment_has_a_worker_where_that_is_installed_whole(checkout):
    venv = checkout / ".venv-sevennet"
    venv.mkdir()
    (venv / ".heo-installing").touch()
    assert keys([]) == ["cpu", "gpu"]
    (venv / ".heo-installed").touch()
    assert keys([]) == ["cpu", "gpu"]
    (venv / ".heo-installing").unlink()
    assert keys([]) == ["cpu", "sevennet", "gpu"]
    pythons = {worker.key: worker.pool.python for worker in list_workers([])}
    assert pythons == {"cpu": sys.executable, "gpu": sys.executable, "sevennet": str(venv / "bin" / "python")}
    assert keys(["0", "3"]) == ["cpu", "sevennet-0", "sevennet-3", "gpu-0", "gpu-3"]


def test_a_pool_whose_runs_need_another_environment_has_a_worker_of_ours_where_that_is_installed(checkout):
    (checkout / ".venv-dft").mkdir()
    (checkout / ".venv-dft" / ".heo-installed").touch()
    assert keys([]) == ["cpu", "dft", "gpu"]
    assert {worker.pool.python for worker in list_workers([])} == {sys.executable}


def test_workers_of_one_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert [worker.threads for worker in list_workers(["0", "1", "2", "3"])] == [1, 4, 4, 4, 4]
    assert [worker.threads for worker in list_workers([])] == [1, 16]


def test_auto_takes_what_is_there_and_a_number_the_first_of_them():
    assert choose_gpus("auto", ["0", "1", "2"]) == ["0", "1", "2"]
    assert choose_gpus("2", ["4", "5", "6"]) == ["4", "5"]
    assert choose_gpus("auto", []) == []
    assert choose_gpus("2", []) == ["0", "1"]


@pytest.mark.parametrize("asked", ["0", "-1", "all", "", "1.5"])
def test_what_is_no_number_of_gpus_is_refused_with_what_is_allowed(asked):
    with pytest.raises(InputError, match="allowed: auto, or a number from 1 on"):
        choose_gpus(asked, ["0"])


def test_more_gpus_than_there_are_is_refused():
    with pytest.raises(InputError, match="this machine has 2: 0, 1"):
        choose_gpus("3", ["0", "1"])


def test_gpus_are_what_nvidia_smi_lists_unless_the_user_names_some(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list_gpus() == []
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    smi.chmod(0o755)
    assert list_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-abc")
    assert list_gpus() == ["3", "GPU-abc"]


def test_a_pool_is_served_as_long_as_one_of_its_workers_lives(monkeypatch):
    old, young, dead = (WorkerState(pid=pid, create_time=when) for pid, when in ((1, 10.0), (2, 20.0), (3, 5.0)))
    state = ServicesState(gpus=["0", "1", "2"], workers={"gpu-0": young, "gpu-1": old, "gpu-2": dead})
    monkeypatch.setattr(module, "find", lambda worker, known: None if known.pid in (None, 3) else known)
    assert living(state) == {"cpu": WorkerState(), "gpu": old, "sevennet": WorkerState(), "dft": WorkerState()}
