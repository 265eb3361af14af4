"""What the suite of kills has found: a line for each kill and each condition, and the tables of docs/reliability.md.

`python tests/faults/results.py` writes the tables into the document.
"""

from __future__ import annotations

import csv
import fcntl
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any, Self

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
FOLDER = DOCS / "reliability"
BEGIN, END = "<!-- made by tests/faults/results.py -->", "<!-- until here -->"


@dataclass(frozen=True)
class Line:
    """A line of a CSV file; what it holds of numbers is read back as numbers."""

    @classmethod
    def read(cls, file: Path) -> list[Self]:
        """Read all lines, none where there is no file."""
        if not file.exists():
            return []
        kinds = {field.name: {"int": int, "float": float}.get(str(field.type), str) for field in fields(cls)}
        with file.open(newline="") as lines:
            return [cls(**{name: kinds[name](text) for name, text in row.items()}) for row in csv.DictReader(lines)]

    @classmethod
    def append(cls, file: Path, lines: Iterable[Self]) -> None:
        """Add lines, all or none of a run's, beside other suites that do so."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", newline="") as out:
            fcntl.flock(out, fcntl.LOCK_EX)
            writer = csv.DictWriter(out, [field.name for field in fields(cls)], lineterminator="\n")
            if out.tell() == 0:
                writer.writeheader()
            writer.writerows(map(asdict, lines))


@dataclass(frozen=True)
class Kill(Line):
    """One kill, and what became of its run, which others hit too."""

    commit: str
    seed: int
    number: int
    """Of the run, which with the seed says all that was drawn."""
    stage: str
    kind: str
    told: str
    """The signal."""
    moment_s: float
    """From when the run had a process, or had one again after the kill before."""
    end_s: float
    """From this kill to the end of the run, what later kills cost included."""
    starts: int
    state: str
    left_behind: int
    """Whether its process was still there three minutes after its end."""
    lost: int
    doubled: int
    changed: int
    violated: str
    """What `heo db check` found."""

    @property
    def run(self) -> tuple[int, int]:
        """What its run is known by."""
        return self.seed, self.number

    @property
    def recovered(self) -> bool:
        """Whether the run came to its end by itself."""
        return self.state == "COMPLETED" and not self.left_behind

    @property
    def fine(self) -> bool:
        """Whether it did, and the database is as it would be undisturbed."""
        return self.recovered and not (self.lost or self.doubled or self.changed or self.violated)


@dataclass(frozen=True)
class Trial(Line):
    """One condition, the run under it and the run after it."""

    commit: str
    condition: str
    stage: str
    state_under: str
    told: str
    """What the run under it says."""
    end_s: float
    """From when it was put on to the end of the run under it."""
    violated_under: str
    state: str
    left_behind: int
    lost: int
    doubled: int
    changed: int
    violated: str

    @property
    def fine(self) -> bool:
        """Whether the run after it completed, and the database is as it would be undisturbed."""
        wrong = self.left_behind or self.lost or self.doubled or self.changed or self.violated
        return self.state == "COMPLETED" and not wrong


def make_tables(kills: Sequence[Kill], trials: Sequence[Trial]) -> str:
    """Make the tables, in Markdown."""
    last = list({kill.run: kill for kill in kills}.values())  # of each run
    header = "killed, kills, in curate, finetune, evaluate, runs, ended by itself, did not"
    lines = _head([*header.split(", "), "s to its end: median", "largest", "rows lost", "doubled", "changed"])
    for kind in dict.fromkeys(kill.kind for kill in kills):
        of_kind = [kill for kill in kills if kill.kind == kind]
        runs = list({kill.run: kill for kill in of_kind}.values())
        stages = Counter(kill.stage for kill in of_kind)
        recovered = sum(kill.recovered for kill in runs)
        # Of a run that did not end by itself it would be when the suite gave up.
        seconds = [kill.end_s for kill in last if kill.kind == kind and kill.recovered]
        cells = [kind, len(of_kind), *(stages[stage] for stage in ("curate", "finetune", "evaluate")), len(runs)]
        cells += [recovered, len(runs) - recovered]
        cells += [f"{of_them(seconds):.0f}" if seconds else "" for of_them in (median, max)]
        lines.append(_row([*cells, *_sum_differences(runs)]))
    recovered = sum(kill.recovered for kill in last)
    cells = ["all", len(kills), "", "", "", len(last), recovered, len(last) - recovered, "", ""]
    lines.append(_row([*cells, *_sum_differences(last)]))
    if trials:
        header = "condition, run under it, after s, and says, run after it, rows lost, doubled, changed"
        lines += ["", *_head(header.split(", "))]
    for trial in trials:
        told = trial.told.partition("\n")[0].removeprefix("Flow run encountered an exception: ")
        cells = [trial.condition, trial.state_under.lower(), f"{trial.end_s:.0f}", told.replace("|", "/")]
        lines.append(_row([*cells, trial.state.lower(), *_sum_differences([trial])]))
    checks = [(f"run {kill.seed}/{kill.number}", kill.violated) for kill in last]
    checks += [(trial.condition, trial.violated or trial.violated_under) for trial in trials]
    found = [f"{where}: {what}" for where, what in checks if what]
    lines += ["", f"`heo db check` was {'; '.join(found) or 'clean after every run'}."]
    return "\n".join(lines)


def _head(names: Sequence[str]) -> list[str]:
    return [_row(names), f"|{'---|' * len(names)}"]


def _row(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _sum_differences(lines: Sequence[Kill | Trial]) -> list[int]:
    return [sum(getattr(line, name) for line in lines) for name in ("lost", "doubled", "changed")]


def write_tables(document: Path = DOCS / "reliability.md", folder: Path = FOLDER) -> None:
    """Put the tables between their marks in the document."""
    before, rest = document.read_text().split(BEGIN)
    tables = make_tables(Kill.read(folder / "kills.csv"), Trial.read(folder / "conditions.csv"))
    document.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    write_tables()
