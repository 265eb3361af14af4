"""The search of a sweep: Optuna draws the values of each trial and is told its score.

Each draw has a generator of its own, seeded by the sweep's seed and the trial's number: a search that was killed and
goes on draws what it would have drawn undisturbed (for tpe, given the same scores).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from heo_core.params import RangeParams, SweepParams, hash_json

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import Trial

PATIENCE = 20
"""Draws of values that were tried before, after which tpe, which may stick to its best, gives way to random draws."""

Suggest = Callable[["Trial"], Any]


def draw(
    storage: BaseStorage, study: str, params: SweepParams, tried: Mapping[int, Mapping[str, Any]]
) -> tuple[int, dict[str, Any]]:
    """Return number and values of a trial that was not tried yet; the space must hold one.

    `tried` has the values of all trials by Optuna's number. A trial that Optuna knows and `tried` does not was drawn
    just before a kill, perhaps in part: it comes first.
    """
    import optuna

    before = {_digest(values) for values in tried.values()}
    n_rejected = 0
    while True:
        opened = optuna.create_study(storage=storage, study_name=study, direction="minimize", load_if_exists=True)
        trials = opened.get_trials(deepcopy=False)
        running = [t for t in trials if t.state == optuna.trial.TrialState.RUNNING and t.number not in tried]
        number = running[0].number if running else len(trials)
        opened.sampler = _make_sampler(params, number, n_rejected)
        trial = optuna.trial.Trial(opened, running[0]._trial_id) if running else opened.ask()  # noqa: SLF001
        values = {path: _make_suggest(params, path)(trial) for path in sorted(params.space)}
        if _digest(values) not in before:
            return number, values
        tell(storage, study, number, None)
        n_rejected += 1


def tell(storage: BaseStorage, study: str, number: int, score: float | None) -> None:
    """Tell Optuna what a trial scored, None where it failed; told twice, the first score counts.

    What Optuna knows as failed stays so: the score of such a trial, trained again, is a trial of its own there.
    """
    import optuna

    state = optuna.trial.TrialState.FAIL if score is None else optuna.trial.TrialState.COMPLETE
    # Not with the sampler that drew: a grid's would stop a loop that is not there.
    opened = optuna.load_study(storage=storage, study_name=study, sampler=optuna.samplers.RandomSampler())
    trials = opened.get_trials(deepcopy=False)
    known = trials[number]
    if score is None or known.state != optuna.trial.TrialState.FAIL:
        opened.tell(number, score, state=state, skip_if_finished=True)
    elif not any(trial.state == state and trial.params == known.params for trial in trials):
        again = optuna.trial.create_trial(params=known.params, distributions=known.distributions, value=score)
        opened.add_trial(again)


def _make_sampler(params: SweepParams, number: int, n_rejected: int) -> BaseSampler:
    import optuna

    seed = int(hash_json([params.seed, number])[:8], 16)
    if params.sampler == "grid":
        return optuna.samplers.GridSampler(_encode_grid(params), seed=params.seed)
    if params.sampler == "random" or n_rejected > PATIENCE:
        return optuna.samplers.RandomSampler(seed=seed)
    # Optuna's ten random trials to begin with would be all of a small sweep.
    n_startup = max(3, min(10, params.count_trials() // 3))
    return optuna.samplers.TPESampler(n_startup_trials=n_startup, seed=seed)


def _encode_grid(params: SweepParams) -> dict[str, list[Any]]:
    return {
        path: list(params.list_points(path) or ())
        if isinstance(values, RangeParams)
        else [_encode(value) for value in values]
        for path, values in params.space.items()
    }


def _make_suggest(params: SweepParams, path: str) -> Suggest:
    """Return what draws the value of one field."""
    values = params.space[path]
    if not isinstance(values, RangeParams):
        choices = {_encode(value): value for value in values}
        return lambda trial: choices[trial.suggest_categorical(path, list(choices))]
    low, high, step = values.low, values.high, values.step
    if params.is_whole(path):
        return lambda trial: trial.suggest_int(path, int(low), int(high), step=int(step or 1), log=values.log)
    if step is not None:
        return lambda trial: round(trial.suggest_float(path, low, high, step=step), 12)
    # Six digits, for people read them.
    return lambda trial: min(max(float(f"{trial.suggest_float(path, low, high, log=values.log):.6g}"), low), high)


def _encode(value: Any) -> Any:
    """Return a choice as Optuna can store it: lists become their JSON."""
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value)


def _digest(values: Mapping[str, Any]) -> str:
    return json.dumps(dict(values), sort_keys=True)
