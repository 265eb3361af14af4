"""MACE's results file: one JSON object a line, a line a batch and a line an evaluation of each head."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heo_core.records import EpochMetrics

# MACE's names of the output head that is finetuned, and of that of replayed cells.
FINETUNED_HEAD, REPLAY_HEAD = "Default", "pt_head"

# What a continuation needs, among the checkpoints, and why the loop ended, in the training's folder.
STATE_FILE, STOPPED_FILE = "state.pt", "stopped.json"


def compute_score(forces_mae_ev_per_ang: float | None, energy_mae_ev_per_atom: float | None) -> float | None:
    """Return what picks the best epoch, lower is better: MAE of forces in eV/Å plus MAE of energies in eV/atom.

    Absolute errors: one structure with a huge force decides a root mean square, and so the epoch. Where there is one
    kind of label only, its error alone; None without either.
    """
    errors = [error for error in (forces_mae_ev_per_ang, energy_mae_ev_per_atom) if error is not None]
    return sum(errors) if errors else None


@dataclass
class TrainingLog:
    """Follows a results file while it is written; `read_new` returns the epochs that have come since the last call.

    A training that goes on puts a shorter file in the place of the old one (see `EpochLogger.cut`): it is then read
    from its beginning, and epochs that were returned before are returned again.
    """

    path: Path
    _file: int | None = None
    _offset: int = 0
    _losses: dict[int, list[float]] = field(default_factory=dict)
    _replay: dict[str, Any] | None = None

    def read_new(self) -> list[EpochMetrics]:
        """Return new epochs in order. A line that is not yet complete waits for the next call."""
        try:
            with self.path.open("rb") as stream:
                file = os.fstat(stream.fileno()).st_ino
                if file != self._file:
                    self._file, self._offset, self._losses, self._replay = file, 0, {}, None
                stream.seek(self._offset)
                complete, newline, _ = stream.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self._offset += len(complete) + len(newline)
        epochs = []
        for line in complete.splitlines():
            record = json.loads(line)
            if record["mode"] != "eval":
                self._losses.setdefault(record["epoch"], []).append(record["loss"])
            elif record["head"] == REPLAY_HEAD:
                # MACE evaluates the replayed cells' head first.
                self._replay = record
            else:
                epochs.append(self._close_epoch(record))
        return epochs

    def _close_epoch(self, record: dict[str, Any]) -> EpochMetrics:
        losses = self._losses.pop(record["epoch"], [])
        replay, self._replay = self._replay or {}, None
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
            seconds=record.get("seconds"),
            stress_rmse_ev_per_ang3=record.get("rmse_stress"),
            stress_mae_ev_per_ang3=record.get("mae_stress"),
            lr=record.get("lr"),
            score=record.get("score"),
            replay_energy_rmse_ev_per_atom=replay.get("rmse_e_per_atom"),
            replay_forces_rmse_ev_per_ang=replay.get("rmse_f"),
        )
