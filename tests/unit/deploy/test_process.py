import os
import signal
import sys
import time

import psutil
import pytest

from deploy.services import process
from deploy.services.process import HOME_MARK, SERVICE_MARK

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)",
]


@pytest.fixture
def home(tmp_path):
    yield tmp_path
    process.end_marked(tmp_path, lambda _: True, grace_s=0.1)


def spawn(home, command=SLEEP, **marks):
    environment = {**os.environ, HOME_MARK: str(home), SERVICE_MARK: "test", **marks}
    return process.spawn(command, log=home / "logs" / "test.log", environment=environment, directory=home)


def test_a_spawned_process_leads_a_session_of_its_own(home):
    child = spawn(home)
    assert os.getsid(child.pid) == child.pid


def test_a_process_is_recognised_by_pid_start_time_and_command(home):
    child = spawn(home)
    assert process.recognise(child.pid, child.create_time(), SLEEP) is not None
    assert process.recognise(child.pid, child.create_time() - 10, SLEEP) is None
    assert process.recognise(child.pid, child.create_time(), ["another", "command"]) is None
    assert process.recognise(None, None, SLEEP) is None


def test_an_ended_process_is_not_recognised_even_as_a_zombie(home):
    child = spawn(home)
    started = child.create_time()
    os.kill(child.pid, signal.SIGKILL)
    time.sleep(0.2)
    assert process.recognise(child.pid, started, SLEEP) is None


def test_a_child_of_a_command_that_ignores_signals_hears_them(home):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        child = spawn(home)
    finally:
        signal.signal(signal.SIGTERM, before)
    child.send_signal(signal.SIGTERM)
    assert process.wait_for_end([child], 5) == []


def test_a_process_that_ignores_sigterm_is_killed(home):
    child = spawn(home, STUBBORN)
    log = home / "logs" / "test.log"
    while "ready" not in log.read_text():
        time.sleep(0.05)
    process.end([child], grace_s=0.2)
    assert not process.is_running(child)


def test_processes_are_found_by_their_home_and_by_no_other(home, tmp_path_factory):
    child = spawn(home, **{process.FLOW_RUN_MARK: "run-1"})
    found = process.marked_processes(home)
    assert [(marked.process.pid, marked.service, marked.flow_run_id) for marked in found] == [
        (child.pid, "test", "run-1")
    ]
    assert process.marked_processes(tmp_path_factory.mktemp("another")) == []


def test_strays_of_a_service_are_ended_but_not_the_flow_runs_it_left(home):
    stray, run, other = spawn(home), spawn(home, **{process.FLOW_RUN_MARK: "1"}), spawn(home, **{SERVICE_MARK: "other"})
    assert process.end_strays(home, "test") == 1
    assert [process.is_running(child) for child in (stray, run, other)] == [False, True, True]


def test_the_caller_and_its_ancestors_are_spared(home):
    script = f"""
import os, sys
from pathlib import Path
from deploy.services.process import end_marked
print(end_marked(Path({str(home)!r}), lambda _: True))
"""
    outer = [
        sys.executable,
        "-c",
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {script!r}]); print('alive', flush=True)",
    ]
    child = spawn(home, outer)
    assert process.wait_for_end([child], 20) == []
    assert (home / "logs" / "test.log").read_text().split() == ["0", "alive"]


def test_a_large_log_is_set_aside(home, monkeypatch):
    monkeypatch.setattr(process, "LARGEST_LOG_BYTES", 10)
    log = home / "logs" / "test.log"
    log.parent.mkdir()
    log.write_text("x" * 11)
    spawn(home)
    assert (home / "logs" / "test.log.1").read_text() == "x" * 11


def test_last_lines_of_a_missing_log_still_name_it(tmp_path):
    assert str(tmp_path / "none.log") in process.last_lines(tmp_path / "none.log")


def test_psutil_still_raises_what_is_caught():
    with pytest.raises(psutil.Error):
        psutil.Process(2**22 + 1)
