"""Operating-system processes: start them detached, recognise them again, end them for certain.

Every process of a home carries two marks in its environment, which its children inherit: `HEO_SERVICE_HOME`, the
resolved home, and `HEO_SERVICE`, the service it belongs to. By them a process is found when no pid was written down.
"""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from flows.settings import FLOW_RUN_MARK

HOME_MARK = "HEO_SERVICE_HOME"
SERVICE_MARK = "HEO_SERVICE"

LARGEST_LOG_BYTES = 10_000_000
CREATE_TIME_TOLERANCE_S = 1.0  # a clock that is set moves what psutil computes

Say = Callable[[str], None]  # how a long step tells the user where it is


@dataclass(frozen=True)
class MarkedProcess:
    """A process of a home, with what its environment says about it."""

    process: psutil.Process
    service: str
    flow_run_id: str | None


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    environment: dict[str, str],
    directory: Path,
    user: int | None = None,
    group: int | None = None,
) -> psutil.Process:
    """Start a command in a session of its own, with no stdin, both outputs appended to `log`."""
    _rotate(log)
    with log.open("ab") as output, default_signals():
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=directory,
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
        )
    child.returncode = 0  # it outlives us, so Python shall neither wait for it nor warn that it still runs
    return psutil.Process(child.pid)


def _rotate(log: Path) -> None:
    """Keep one older log file once a log has grown large."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LARGEST_LOG_BYTES:
        log.replace(log.with_name(f"{log.name}.1"))


@contextmanager
def default_signals() -> Iterator[None]:
    """Let a child start with default signal handlers.

    A signal that is ignored stays ignored through exec: a service started from a background job would not hear the
    first signal to stop. Signal handlers can only be changed in the main thread.
    """
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    main = threading.current_thread() is threading.main_thread()
    ignored = [name for name in names if main and signal.getsignal(name) is signal.SIG_IGN]
    for name in ignored:
        signal.signal(name, signal.SIG_DFL)
    try:
        yield
    finally:
        for name in ignored:
            signal.signal(name, signal.SIG_IGN)


def recognise(pid: int | None, create_time: float | None, words: Iterable[str]) -> psutil.Process | None:
    """Return the running process of a pid that was written down; None if it is gone or the pid is another's now."""
    if pid is None or create_time is None:
        return None
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - create_time) <= CREATE_TIME_TOLERANCE_S
        return process if same and is_running(process) and fits(process, words) else None
    except psutil.Error:
        return None


def fits(process: psutil.Process, words: Iterable[str]) -> bool:
    """Tell whether every word is an argument of the process's command line."""
    arguments: list[str] = []
    for _ in range(20):
        try:
            arguments = process.cmdline()
        except psutil.Error:
            return False
        if arguments:
            break
        time.sleep(0.01)  # for a moment after exec, the kernel shows none
    return all(word in arguments for word in words)


def is_running(process: psutil.Process) -> bool:
    """Tell whether a process still runs; a zombie, which only waits for its parent, does not."""
    with suppress(psutil.Error):
        with suppress(psutil.TimeoutExpired):
            process.wait(0)  # reaps it where it is our own child
            return False
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    return False


def end(processes: Iterable[psutil.Process], grace_s: float) -> None:
    """Send SIGTERM, wait, and send SIGKILL to what is left."""
    left = [process for process in processes if is_running(process)]
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        send(left, number)
        left = wait_for_end(left, patience_s)


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to each process that is still there."""
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)


def wait_for_end(processes: Sequence[psutil.Process], patience_s: float) -> list[psutil.Process]:
    """Wait until no process runs or patience ends; return those that still run."""
    deadline = time.monotonic() + patience_s
    left = [process for process in processes if is_running(process)]
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = [process for process in left if is_running(process)]
    return left


def wait(say: Say, what: str, patience_s: float, step_s: float = 0.1) -> Iterator[None]:
    """Yield again and again until patience ends, and say every five seconds what is waited for."""
    begin, told = time.monotonic(), 0.0
    while (elapsed := time.monotonic() - begin) < patience_s:
        if elapsed - told >= 5:
            say(f"{what} ({elapsed:.0f} s)")
            told = elapsed
        yield
        time.sleep(step_s)


def last_lines(path: Path, count: int = 8) -> str:
    """Return the end of a log file, with its name, for an error message."""
    try:
        lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return "\n".join([f"last lines of {path}:", *(f"  {line}" for line in lines[-count:])])


def marked_processes(home: Path) -> list[MarkedProcess]:
    """Return every running process of a home, but not this process nor its ancestors."""
    own = psutil.Process()
    spared = {own.pid, *(parent.pid for parent in own.parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in spared:
            continue
        with suppress(psutil.Error, OSError):
            environment = process.environ()
            if environment.get(HOME_MARK) == str(home) and is_running(process):
                found.append(MarkedProcess(process, environment.get(SERVICE_MARK, ""), environment.get(FLOW_RUN_MARK)))
    return found


def end_marked(home: Path, wanted: Callable[[MarkedProcess], bool], grace_s: float = 5.0) -> int:
    """End the processes of a home that are wanted, and return how many there were.

    Looks again until nothing is found, for what is being ended may still start children.
    """
    count = 0
    for _ in range(5):
        found = [marked.process for marked in marked_processes(home) if wanted(marked)]
        if not found:
            break
        count += len(found)
        end(found, grace_s)
    return count


def end_strays(home: Path, service: str) -> int:
    """End the processes of a service that nobody wrote down, but not the flow runs that a worker left behind."""
    return end_marked(home, lambda marked: marked.service == service and marked.flow_run_id is None)
