"""MACE's results file: one JSON object a line, a line a batch and a line an evaluation."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heo_core.records import EpochMetrics


@dataclass
class TrainingLog:
    """Follows a results file while it is written; `read_new` returns the epochs that have come since the last call."""

    path: Path
    _offset: int = 0
    _batch_losses: list[float] = field(default_factory=list)

    def read_new(self) -> list[EpochMetrics]:
        """Return new epochs in order. A line that is not yet complete waits for the next call."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self._offset)
                complete, newline, _ = stream.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self._offset += len(complete) + len(newline)
        epochs = []
        for line in complete.splitlines():
            record = json.loads(line)
            if record["mode"] == "eval":
                epochs.append(self._close_epoch(record))
            else:
                self._batch_losses.append(record["loss"])
        return epochs

    def _close_epoch(self, record: dict[str, Any]) -> EpochMetrics:
        losses, self._batch_losses = self._batch_losses, []
        return EpochMetrics(
            # MACE counts its first pass as epoch 0 and writes null for the evaluation before it.
            epoch=0 if record["epoch"] is None else record["epoch"] + 1,
            train_loss=sum(losses) / len(losses) if losses else None,
            validation_loss=record["loss"],
            energy_rmse_ev_per_atom=record["rmse_e_per_atom"],
            energy_mae_ev_per_atom=record.get("mae_e_per_atom"),
            forces_rmse_ev_per_ang=record["rmse_f"],
            forces_mae_ev_per_ang=record.get("mae_f"),
            forces_q95_ev_per_ang=record.get("q95_f"),
            seconds=None,
        )
