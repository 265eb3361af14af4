"""`make test-faults`: kill what can be killed, again and again, and compare the database with an undisturbed one.

Runs of curate, finetune and evaluate on real services are killed at moments drawn from the seed. What became of each is
in docs/reliability/*.csv as soon as it is over, so that a suite that was broken off goes on, and several suites, each
with a home and a seed of its own, share the work.

KILLS: how many of each kind (30). KINDS: some of the kinds and conditions, with commas between them. SEED: of the dice
(7). FAULTS_HOME: where the services are (.heo/faults).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from conditions import CONDITIONS, Condition
from database_content import compare
from kills import KINDS, Kind, Strike, plan
from results import FOLDER, Kill, Trial, make_tables
from workload import Workload

from deploy.services.environment import resolved_home
from deploy.services.prefect_api import FINAL
from flows.settings import CHECKOUT

LEFT_S = 180.0  # a process takes its time to end, a minute on a busy machine


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
    sys.stdout.flush()


def run_kills(
    workload: Workload, stage: str, kinds: Sequence[Kind], rng: np.random.Generator, *, latest: float
) -> dict[str, Any]:
    """Kill one after another within one run, and see what becomes of it.

    latest: a kill comes at most this fraction of an undisturbed run after the run has got its process, or got it again.
    """
    workload.reset(stage)
    run_id = workload.start(stage, f"kills-{time.time_ns()}")
    strike = Strike(workload, run_id, stage, rng)
    kills: list[dict[str, Any]] = []
    struck: list[float] = []
    for kind in kinds:
        workload.wait_for_process(run_id)
        moment_s = float(rng.uniform(0.0, latest * workload.seconds[stage]))
        if not _is_at_work(workload, run_id, moment_s):
            break
        begin = time.monotonic()
        if (told := kind.strike(strike)) is not None:
            struck.append(begin)
            kills.append({"kind": kind.name, "told": told, "moment_s": round(moment_s, 1)})
    state, end = workload.wait_for_end(run_id), time.monotonic()
    for kill, begin in zip(kills, struck, strict=True):
        kill["end_s"] = round(end - begin, 1)
    run = workload.look(run_id)
    facts = {"stage": stage, "state": state, "starts": (run or {}).get("run_count", -1), "kills": kills}
    return facts | judge(workload, run_id, stage)


def run_under(workload: Workload, condition: Condition) -> dict[str, Any]:
    """Run a stage under a condition, then again without it, and see what is there in the end."""
    stage = condition.stage
    workload.reset(stage)
    begin = time.monotonic()
    with condition.put_on(workload, stage):
        run_id = workload.start(stage, f"under-{time.time_ns()}")
        state = workload.wait_for_end(run_id)
        end_s = time.monotonic() - begin
    told = (workload.look(run_id) or {}).get("state", {}).get("message") or ""
    workload.cancel_runs()
    violated = workload.check()
    again_id = workload.start(stage, f"after-{time.time_ns()}")
    facts = {"condition": condition.name, "stage": stage, "state_under": state, "told": told[:300]}
    facts |= {"violated_under": "; ".join(violated), "end_s": round(end_s, 1)}
    return facts | {"state": workload.wait_for_end(again_id)} | judge(workload, again_id, stage)


def _is_at_work(workload: Workload, run_id: str, seconds: float) -> bool:
    """Wait for so long, and say whether a run has still not ended then."""
    deadline = time.monotonic() + seconds
    while (run := workload.look(run_id)) is None or run["state_type"] not in FINAL:
        if time.monotonic() >= deadline:
            return True
        time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))
    return False


def judge(workload: Workload, run_id: str, stage: str) -> dict[str, Any]:
    """Compare what a run has left with what it should leave."""
    deadline = time.monotonic() + LEFT_S
    while (left := workload.find_flow(run_id)) is not None and time.monotonic() < deadline:
        time.sleep(0.2)
    difference = compare(workload.expected(stage), workload.read())
    for what in (*difference.lost[:3], *difference.doubled[:3], *difference.changed[:4]):
        say(f"    {what}")
    return {
        "lost": len(difference.lost),
        "doubled": len(difference.doubled),
        "changed": len(difference.changed),
        "violated": "; ".join(workload.check()),
        "left_behind": int(left is not None),
    }


def find_commit(checkout: Path) -> str:
    """Return the commit that is tested. SystemExit where files differ from it, but for what was found before."""

    def ask(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True, check=True).stdout

    if changed := ask("status", "--porcelain", "--", ".", ":(exclude)docs/reliability*"):
        sys.exit(f"a line of docs/reliability names the commit that it was found at; commit these first:\n{changed}")
    return ask("rev-parse", "--short", "HEAD").strip()


class Suite:
    """The kills and conditions that are still to come, in one home."""

    def __init__(self, workload: Workload, n_kills: int, chosen: Collection[str], seed: int) -> None:
        self.workload, self.n_kills, self.chosen, self.seed = workload, n_kills, chosen, seed
        self.kills, self.conditions = FOLDER / "kills.csv", FOLDER / "conditions.csv"
        self.is_fine = True
        self.commit = find_commit(CHECKOUT)

    def run(self) -> None:
        """Do what is left to do."""
        for condition in CONDITIONS:
            if condition.name not in self.chosen or condition.name in {
                t.condition for t in Trial.read(self.conditions)
            }:
                continue
            if lack := condition.cannot_be_put_on():
                say(f"{condition.name}: not run, {lack}")
                continue
            trial = Trial(commit=self.commit, **run_under(self.workload, condition))
            Trial.append(self.conditions, [trial])
            self._tell(condition.name.replace(" ", "-"), trial, fine=trial.fine)
        number = 0
        while missing := self._list_missing():
            if (self.seed, number) not in {kill.run for kill in Kill.read(self.kills)}:
                self._run_kills(number, missing)
            number += 1

    def _list_missing(self) -> set[str]:
        """List the kinds of kills of which there are not enough, all suites together."""
        counts = Counter(kill.kind for kill in Kill.read(self.kills))
        return {kind.name for kind in KINDS if kind.name in self.chosen and counts[kind.name] < self.n_kills}

    def _run_kills(self, number: int, missing: Collection[str]) -> None:
        stage, planned = plan(number)
        rng = np.random.default_rng([self.seed, number])
        kinds = [planned[i] for i in rng.permutation(len(planned)) if planned[i].name in missing]
        if not kinds:
            return
        # They spread over the run; one that comes after its end kills nothing, so there may be more runs than planned.
        facts = run_kills(self.workload, stage, kinds, rng, latest=1.2 / len(kinds))
        kills = [
            Kill(commit=self.commit, seed=self.seed, number=number, **facts, **kill) for kill in facts.pop("kills")
        ]
        Kill.append(self.kills, kills)
        self._tell(f"run-{number}", *kills, fine=all(kill.fine for kill in kills))

    def _tell(self, name: str, *lines: Kill | Trial, fine: bool) -> None:
        """Print what was found; keep the logs of what should not be."""
        for line in lines:
            say(f"{'ok ' if fine else 'BAD'} {line}")
        if not fine:
            self.is_fine = False
            home = resolved_home(self.workload.settings)
            shutil.copytree(home / "logs", home / "bad" / f"{name}-{time.time_ns()}")


def main() -> int:
    """Run the suite; 1 if anything was lost, doubled, changed or stayed as it was."""
    home = Path(os.environ.get("FAULTS_HOME") or CHECKOUT / ".heo" / "faults").resolve()
    chosen = os.environ.get("KINDS", ",".join(one.name for one in (*KINDS, *CONDITIONS))).split(",")
    home.mkdir(parents=True, exist_ok=True)
    workload = Workload(home)
    suite = Suite(workload, int(os.environ.get("KILLS") or 30), chosen, int(os.environ.get("SEED") or 7))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    try:
        workload.prepare()
        say(f"undisturbed, in seconds: {workload.seconds}")
        suite.run()
    finally:
        with suppress(Exception):
            workload.down()
    say("\n" + make_tables(Kill.read(suite.kills), Trial.read(suite.conditions)))
    return int(not suite.is_fine)


if __name__ == "__main__":
    sys.exit(main())
