"""`make test-faults`: kill what can be killed, again and again, and compare the database with an undisturbed one.

Runs of curate, finetune and evaluate on real services are killed at moments drawn from the seed. Each run is a line of
kills.jsonl as soon as it is over, so that a suite that was broken off goes on. KILLS: how many of each kind (30).
KINDS: some of the kinds, with commas between them. FAULTS_HOME: where the services are (.heo/faults).
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from database_content import compare
from kills import KINDS, Kind, Strike
from workload import Workload

from deploy.services.prefect_api import FINAL
from flows.settings import CHECKOUT

SEED = 7
TRIES = 5  # a moment that comes after the end of the run kills nothing, and another is drawn
LEFT_S = 30.0


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
    sys.stdout.flush()


def run_kills(workload: Workload, kind: Kind, number: int) -> dict[str, Any] | None:
    """Kill within one run and see what becomes of it; None where nothing was there to be killed at any moment drawn."""
    index = [one.name for one in KINDS].index(kind.name)
    for attempt in range(TRIES):
        rng = np.random.default_rng([SEED, index, number, attempt])
        stage = str(rng.choice(kind.stages))
        workload.reset(stage)
        run_id = workload.start(stage, f"{kind.name}-{number}-{attempt}-{time.time_ns()}")
        strike, moments, signals, begin = Strike(workload, run_id, stage, rng), [], [], 0.0
        for _ in range(kind.in_a_run):
            workload.wait_for_process(run_id)
            moment_s = float(rng.uniform(0.0, 0.9 * workload.seconds[stage]))
            if not _is_at_work(workload, run_id, moment_s):
                break
            struck_at = time.monotonic()
            if (told := kind.strike(strike)) is None:
                break
            begin = struck_at
            moments.append(round(moment_s, 1))
            signals.append(told)
        state = workload.wait_for_end(run_id)
        if moments:
            facts = {"kind": kind.name, "number": number, "stage": stage, "moments_s": moments, "signals": signals}
            facts |= {"state": state, "end_s": round(time.monotonic() - begin, 1)}
            return facts | judge(workload, run_id, stage)
    return None


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
    return sum(len(row["moments_s"]) for row in rows if row["kind"] == kind.name)


def has_recovered(row: dict[str, Any]) -> bool:
    """Whether a run came to its end by itself."""
    return bool(row["state"] == "COMPLETED" and not row["left_behind"])


def is_fine(row: dict[str, Any]) -> bool:
    """Whether it did, and the database is as it would be undisturbed."""
    return has_recovered(row) and not (row["lost"] or row["doubled"] or row["changed"] or row["violated"])


def make_table(rows: list[dict[str, Any]]) -> str:
    """Make the table of docs/reliability.md."""
    lines = [
        "| killed | kills | runs | ended by itself | s to its end, median | largest | rows lost | doubled | changed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        of_kind = [row for row in rows if row["kind"] == kind.name]
        if of_kind:
            seconds = [row["end_s"] for row in of_kind]
            cells = [kind.name, count_kills(rows, kind), len(of_kind), sum(map(has_recovered, of_kind))]
            cells += [f"{median(seconds):.0f}", f"{max(seconds):.0f}"]
            cells += [sum(row[what] for row in of_kind) for what in ("lost", "doubled", "changed")]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    violated = [violation for row in rows for violation in row["violated"]]
    lines.append(f"\n`heo db check`: {'; '.join(violated) or 'clean after every run'}.")
    return "\n".join(lines)


def main() -> int:
    """Run the suite; 1 if anything was lost, doubled, changed or stayed as it was."""
    home = Path(os.environ.get("FAULTS_HOME") or CHECKOUT / ".heo" / "faults").resolve()
    n_kills = int(os.environ.get("KILLS") or 30)
    chosen = [kind for kind in KINDS if kind.name in os.environ.get("KINDS", kind.name).split(",")]
    home.mkdir(parents=True, exist_ok=True)
    journal = home / "kills.jsonl"
    rows = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    done = {(row["kind"], row["number"]) for row in rows}
    workload = Workload(home, say)
    try:
        workload.prepare()
        say(f"undisturbed, in seconds: {workload.seconds}")
        for number in range(n_kills):
            for kind in chosen:
                if (kind.name, number) in done or count_kills(rows, kind) >= n_kills:
                    continue
                row = run_kills(workload, kind, number)
                if row is None:
                    say(f"{kind.name} {number}: nothing was there to be killed")
                    continue
                rows.append(row)
                with journal.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                say(f"{'ok ' if is_fine(row) else 'BAD'} {json.dumps(row)}")
    finally:
        with suppress(Exception):
            workload.down()
    say("\n" + make_table(rows))
    return int(not all(map(is_fine, rows)))


if __name__ == "__main__":
    sys.exit(main())
