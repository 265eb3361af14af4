"""Every exception that heo raises on purpose.

HeoError                    one clear line for the user; exit code 1
├── InputError              what the user gave is not usable: a file, a name, a value; exit code 2
│   ├── SourceError         a dataset source that is missing, unreadable or lacks a column
│   └── ModelError          a model reference or file that cannot be used
├── ServiceError            database, Prefect server, worker or artifact store cannot be reached or started; exit code 3
├── TrainingError           a training run that ended without a model
│   ├── DivergedError           its loss grew without end: the same parameters would fail again
│   └── TrainerKilledError      a signal ended the trainer: it may go on from its last finished epoch
└── EvaluationError         an evaluation that could not be done at all
"""

from __future__ import annotations


class HeoError(Exception):
    """Base of all; its message is fit to be shown as one line."""

    exit_code = 1


class InputError(HeoError):
    """What the user gave is not usable; the message names the value and what is allowed."""

    exit_code = 2


class SourceError(InputError):
    """A dataset source that is missing, unreadable or lacks a column."""


class ModelError(InputError):
    """A model reference or file that cannot be used."""


class ServiceError(HeoError):
    """The database, the Prefect server, a worker or the artifact store cannot be reached or started."""

    exit_code = 3


class TrainingError(HeoError):
    """A training run that ended without a model."""


class DivergedError(TrainingError):
    """The loss of a training grew without end: the same parameters would fail again."""


class TrainerKilledError(TrainingError):
    """A signal ended the trainer: it may go on from its last finished epoch."""


class EvaluationError(HeoError):
    """An evaluation that could not be done at all (one failed structure is a row instead)."""


def first_line(exc: BaseException) -> str:
    """Return the first line of another package's error, or its class where there is none, to be told in one of ours."""
    lines = str(exc).strip().splitlines()
    return lines[0] if lines else type(exc).__name__
