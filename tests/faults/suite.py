"""`make test-faults`: kill what can be killed, again and again, and compare the database with an undisturbed one.

Runs of curate, finetune and evaluate on real services are killed at moments drawn from the seed. Each run is a line of
kills.jsonl as soon as it is over, so that a suite that was broken off goes on. KILLS: how many of each kind (30).
KINDS: some of the kinds and conditions, with commas between them. FAULTS_HOME: where the services are (.heo/faults).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from conditions import CONDITIONS, Condition
from database_content import compare
from kills import KINDS, Kind, Strike
from workload import Workload

from deploy.services.prefect_api import FINAL
from flows.settings import CHECKOUT

SEED = 7
LEFT_S = 180.0  # a process takes its time to end, a minute on a busy machine


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
    sys.stdout.flush()


def run_kills(
    workload: Workload, stage: str, kinds: Sequence[Kind], rng: np.random.Generator, *, latest: float = 0.6
) -> dict[str, Any]:
    """Kill one after another within one run, and see what becomes of it.

    latest: a kill comes at most this fraction of an undisturbed run after the run has got its process, or got it again.
    """
    workload.reset(stage)
    run_id = workload.start(stage, f"kills-{time.time_ns()}")
    strike, begin = Strike(workload, run_id, stage, rng), time.monotonic()
    kills: list[list[Any]] = []
    for kind in kinds:
        workload.wait_for_process(run_id)
        moment_s = float(rng.uniform(0.0, latest * workload.seconds[stage]))
        if not _is_at_work(workload, run_id, moment_s):
            break
        struck_at = time.monotonic()
        if (told := kind.strike(strike)) is None:
            break
        begin = struck_at
        kills.append([kind.name, told, round(moment_s, 1)])
    facts = {"stage": stage, "kills": kills, "state": workload.wait_for_end(run_id)}
    return facts | {"end_s": round(time.monotonic() - begin, 1)} | judge(workload, run_id, stage)


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
    facts = {"stage": stage, "state_under": state, "told": told[:300], "violated_under": violated}
    facts |= {"end_s": round(end_s, 1), "state": workload.wait_for_end(again_id)}
    return facts | judge(workload, again_id, stage)


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
    run = workload.look(run_id)
    return {
        "starts": run and run["run_count"],
        "lost": len(difference.lost),
        "doubled": len(difference.doubled),
        "changed": len(difference.changed),
        "examples": [*difference.lost[:2], *difference.doubled[:2], *difference.changed[:4]],
        "violated": workload.check(),
        "left_behind": left is not None,
    }


def count_kills(rows: list[dict[str, Any]], kind: Kind) -> int:
    """Count the kills of a kind."""
    return sum(len(row["kills"]) for row in rows if row["kind"] == kind.name)


def has_recovered(row: dict[str, Any]) -> bool:
    """Whether a run came to its end by itself."""
    return bool(row["state"] == "COMPLETED" and not row["left_behind"])


def is_fine(row: dict[str, Any]) -> bool:
    """Whether it did, and the database is as it would be undisturbed."""
    return has_recovered(row) and not (row["lost"] or row["doubled"] or row["changed"] or row["violated"])


def make_table(rows: list[dict[str, Any]]) -> str:
    """Make the tables of docs/reliability.md."""
    lines = [
        "| killed | kills | runs | ended by itself | s to its end, median | largest | rows lost | doubled | changed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        of_kind = [row for row in rows if row["kind"] == kind.name and row["kills"]]
        if of_kind:
            seconds = [row["end_s"] for row in of_kind]
            cells = [kind.name, count_kills(rows, kind), len(of_kind), sum(map(has_recovered, of_kind))]
            cells += [f"{median(seconds):.0f}", f"{max(seconds):.0f}", *sum_differences(of_kind)]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += [
        "",
        "| condition | run under it | after s | and says | run after it | rows lost | doubled | changed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "state_under" in row:
            cells = [row["kind"], row["state_under"].lower(), f"{row['end_s']:.0f}", row["told"].partition("\n")[0]]
            cells += [row["state"].lower(), *sum_differences([row])]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    violated = [violation for row in rows for violation in row["violated"]]
    lines.append(f"\n`heo db check`: {'; '.join(violated) or 'clean after every run'}.")
    return "\n".join(lines)


def sum_differences(rows: list[dict[str, Any]]) -> list[int]:
    """Sum rows lost, doubled and changed."""
    return [sum(row[what] for row in rows) for what in ("lost", "doubled", "changed")]


def main() -> int:
    """Run the suite; 1 if anything was lost, doubled, changed or stayed as it was."""
    home = Path(os.environ.get("FAULTS_HOME") or CHECKOUT / ".heo" / "faults").resolve()
    n_kills = int(os.environ.get("KILLS") or 30)
    chosen = os.environ.get("KINDS", ",".join(one.name for one in (*KINDS, *CONDITIONS))).split(",")
    home.mkdir(parents=True, exist_ok=True)
    journal = home / "kills.jsonl"
    rows = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    done = {(row["kind"], row["number"]) for row in rows}
    workload = Workload(home)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended

    def note(row: dict[str, Any]) -> None:
        rows.append(row)
        with journal.open("a") as file:
            file.write(json.dumps(row) + "\n")
        say(f"{'ok ' if is_fine(row) else 'BAD'} {json.dumps(row)}")

    try:
        workload.prepare()
        say(f"undisturbed, in seconds: {workload.seconds}")
        # A moment that comes after the end of a run kills nothing, so there may be more runs than kills.
        for number in range(2 * n_kills):
            for kind in KINDS:
                if kind.name not in chosen or (kind.name, number) in done or count_kills(rows, kind) >= n_kills:
                    continue
                rng = np.random.default_rng([SEED, KINDS.index(kind), number])
                row = run_kills(workload, str(rng.choice(kind.stages)), [kind] * kind.in_a_run, rng)
                note({"kind": kind.name, "number": number} | row)
            for condition in CONDITIONS if number == 0 else ():
                if condition.name not in chosen or (condition.name, number) in done:
                    continue
                if lack := condition.cannot_be_put_on():
                    say(f"{condition.name}: not run, {lack}")
                    continue
                note({"kind": condition.name, "number": number} | run_under(workload, condition))
    finally:
        with suppress(Exception):
            workload.down()
    say("\n" + make_table(rows))
    return int(not all(map(is_fine, rows)))


if __name__ == "__main__":
    sys.exit(main())
