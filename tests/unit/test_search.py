"""What is drawn: every point of a grid once, nothing twice, and after a kill what would have been drawn without it."""

from __future__ import annotations

import json
from itertools import product

import optuna
import pytest

from heo_core.params import SweepParams
from heo_core.search import draw, tell

LR = {"low": 1e-4, "high": 1e-2, "log": True}


@pytest.fixture
def storage():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.storages.InMemoryStorage()


def make(space: object, **fields: object) -> SweepParams:
    return SweepParams.model_validate({"space": space, **fields})


def search(storage, params: SweepParams, n: int, *, score=lambda _: 1.0, kill_at=()) -> list[dict]:
    """Draw and tell n trials; at the numbers of kill_at, what was drawn is lost before it is written down."""
    tried: dict[int, dict] = {}
    while len(tried) < n:
        number, values = draw(storage, "study", params, tried)
        if number in kill_at:
            number, values = draw(storage, "study", params, tried)
        tried[number] = values
        tell(storage, "study", number, score(values))
    return list(tried.values())


@pytest.mark.parametrize("kill_at", [(), (0,), (1, 5)])
def test_a_grid_is_drawn_point_by_point_and_then_exhausted(storage, kill_at) -> None:
    space = {"lr": [1e-3, 1e-2], "ema": [True, False], "architecture.radial_mlp": [[32], [64, 64]]}
    params = make(space, sampler="grid", seed=3)
    drawn = search(storage, params, params.count_trials(), kill_at=kill_at)
    expected = [dict(zip(sorted(space), point, strict=True)) for point in product(*(space[f] for f in sorted(space)))]
    assert sorted(map(json.dumps, drawn)) == sorted(map(json.dumps, expected))


@pytest.mark.parametrize("sampler", ["random", "tpe", "grid"])
def test_a_search_that_is_killed_draws_what_it_would_have_drawn(sampler) -> None:
    space = {"lr": LR if sampler != "grid" else [1e-4, 1e-3, 1e-2], "batch_size": {"low": 1, "high": 8}}
    params = make(space, sampler=sampler, n_trials=12, seed=1)
    undisturbed, killed = (
        search(optuna.storages.InMemoryStorage(), params, 12, score=lambda v: v["lr"], kill_at=at)
        for at in ((), (0, 4, 11))
    )
    assert undisturbed == killed


def test_the_seed_decides_what_is_drawn() -> None:
    one, same, other = (search(optuna.storages.InMemoryStorage(), make({"lr": LR}, seed=seed), 5) for seed in (1, 1, 2))
    assert one == same
    assert not {v["lr"] for v in one} & {v["lr"] for v in other}


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_no_trial_is_drawn_twice_even_when_few_are_left(storage, sampler) -> None:
    params = make({"lr": [1e-4, 1e-3, 1e-2], "ema": [True, False]}, sampler=sampler)
    drawn = search(storage, params, params.count_trials(), score=lambda v: v["lr"])
    assert len({json.dumps(values, sort_keys=True) for values in drawn}) == len(drawn) == 6


def test_draws_stay_in_their_range_and_keep_whole_numbers_whole(storage) -> None:
    params = make(
        {"lr": LR, "batch_size": {"low": 2, "high": 5}, "replay.weight": {"low": 0.5, "high": 2, "step": 0.5}}
    )
    for values in search(storage, params, 30):
        assert 1e-4 <= values["lr"] <= 1e-2
        assert values["batch_size"] in {2, 3, 4, 5}
        assert isinstance(values["batch_size"], int)
        assert values["replay.weight"] in {0.5, 1.0, 1.5, 2.0}
        assert params.make_trial(values, "x").lr == values["lr"]


def test_tpe_draws_more_where_scores_were_good(storage) -> None:
    params = make({"lr": {"low": 0.0001, "high": 1.0}}, sampler="tpe", n_trials=40)
    drawn = [values["lr"] for values in search(storage, params, 40, score=lambda v: abs(v["lr"] - 0.3))]
    late = drawn[20:]
    assert sum(abs(lr - 0.3) < 0.1 for lr in late) > 0.4 * len(late)  # a fifth of even draws


def test_a_failed_trial_teaches_nothing_and_ends_nothing(storage) -> None:
    params = make({"lr": LR}, sampler="tpe", n_trials=8)
    drawn = search(storage, params, 8, score=lambda v: None if v["lr"] > 1e-3 else v["lr"])
    assert len(drawn) == 8
    trials = optuna.load_study(storage=storage, study_name="study").get_trials()
    assert {t.state.name for t in trials} == {"COMPLETE", "FAIL"}


def test_a_score_that_is_told_twice_counts_once(storage) -> None:
    number, _ = draw(storage, "study", make({"lr": LR}), {})
    tell(storage, "study", number, 1.0)
    tell(storage, "study", number, 2.0)
    assert optuna.load_study(storage=storage, study_name="study").best_value == 1.0


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_the_score_of_a_failed_trial_that_was_trained_again_counts_once(storage, sampler) -> None:
    params = make({"lr": [1e-4, 1e-3]}, sampler=sampler)
    number, values = draw(storage, "study", params, {})
    for score in (None, 2.0, 2.0, None):
        tell(storage, "study", number, score)
    study = optuna.load_study(storage=storage, study_name="study")
    assert [(t.params, t.value) for t in study.get_trials(states=[optuna.trial.TrialState.COMPLETE])] == [(values, 2.0)]
    _, other = draw(storage, "study", params, {number: values})
    assert {values["lr"], other["lr"]} == {1e-4, 1e-3}
