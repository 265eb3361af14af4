"""Curates on command, in a process of its own: the Hub's clients read HF_ENDPOINT when they are imported.

A command is a line of JSON, and so is its answer. Pauses, ours and those of the Hub's client, last a thousandth.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any


class Driver:
    """That process, as the tests see it."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=environment,
            )

    def send(self, **command: Any) -> None:
        """Give a command, and do not wait."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(command, default=str) + "\n")
        self.process.stdin.flush()

    def ask(self, **command: Any) -> dict[str, Any]:
        """Give a command and wait for its answer."""
        assert self.process.stdout
        self.send(**command)
        line = self.process.stdout.readline()
        assert line, self._log.read_text()[-2000:]
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        """End it with SIGKILL, whatever it is doing."""
        self.process.kill()
        self.process.communicate()


def answer(
    *,
    bytes_per_request: int = 32 * 1024,
    silence_s: float = 20.0,
    folder: str | None = None,
    only_open: bool = False,
    **params: Any,
) -> dict[str, Any]:
    """Curate, and say what came of it."""
    from huggingface_hub import constants

    from heo_core.curation import Progress, curate, lemat, open_source
    from heo_core.errors import HeoError
    from heo_core.params import CurationParams

    # Several requests a shard, and several batches between them, though the shards are small.
    lemat._BYTES_PER_REQUEST = bytes_per_request
    lemat._BYTES_PER_COLUMN_READ = 4096
    lemat._ROWS_PER_BATCH = 2
    lemat._MAX_SILENCE_S = constants.HF_HUB_DOWNLOAD_TIMEOUT = silence_s
    shown: list[Progress] = []
    try:
        curation = CurationParams(**params)
        source = open_source(curation)
        if only_open:
            return {"revision": source.revision}
        curated = curate(source, curation, shown.append, Path(folder) if folder else None)
    except HeoError as exc:
        return {"error": type(exc).__name__, "message": str(exc), "notes": getattr(exc, "__notes__", [])}
    return {
        "revision": source.revision,
        "licence": source.licence,
        "citation": source.citation,
        "total": source.n_rows,
        "n_retries": shown[-1].n_retries,
        "dataset": {
            "entries": [entry.content_hash for entry in curated.entries],
            "splits": list(curated.splits),
            "rejections": [asdict(rejection) for rejection in curated.rejections],
            "n_scanned": curated.n_scanned,
            "members": [[member.structure.content_hash, member.split] for member in curated.iter_members()],
        },
    }


def main() -> None:
    """Answer until the input ends."""
    import time

    sleep = time.sleep
    time.sleep = lambda seconds: sleep(seconds / 1000)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(**json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
