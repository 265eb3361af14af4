"""A sweep says what is wrong with its space before anything is trained, and stores it as a finetuning would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from deploy.cli.run import build_params
from heo_core.errors import InputError
from heo_core.params import FinetuneParams, RangeParams, SweepParams

LOG_LR = {"low": 1e-4, "high": 1e-2, "log": True}


def make(space: object, **fields: object) -> SweepParams:
    return SweepParams.model_validate({"space": space, **fields})


def test_words_lists_and_groups_on_the_command_line_are_one_space() -> None:
    written = build_params(
        SweepParams, ["space.lr=1e-4,1e-3", "space.replay.weight=[0.5,1]", "space.loss=weighted,universal"]
    )
    assert written.space == {"loss": ("weighted", "universal"), "lr": (1e-4, 1e-3), "replay.weight": (0.5, 1.0)}
    assert written == make({"replay.weight": [0.5, 1], "lr": [1e-4, 1e-3], "loss": ["weighted", "universal"]})


def test_a_space_reads_back_as_it_was_stored_whatever_order_a_database_gives_it() -> None:
    params = make({"lr": LOG_LR, "batch_size": [2, 4], "architecture.radial_mlp": [[32, 32], [64]]})
    stored = params.model_dump(mode="json")
    stored["space"] = dict(reversed(stored["space"].items()))
    again = SweepParams.model_validate(stored)
    assert again == params
    assert list(again.space) == list(params.space)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "at least 1 item"),
        (3, "FIELD"),
        ({"lr": 0.1}, "lr=0.1: it takes a list of values"),
        ({"lr": []}, r"lr=\[\]: it takes a list of values"),
        ({"learning_rat": [1]}, "learning_rat is no field of a finetuning; there is: lr_final_fraction"),
        ({"replay": [1]}, r"replay is no field of a finetuning; there is: replay\.structures, "),
        ({"lr": [0.1, -1]}, "lr=-1: Input should be greater than 0"),
        ({"loss": ["huber"]}, "loss='huber': Input should be 'universal' or 'weighted'"),
        ({"lr": [1, 1.0]}, "lr lists 1.0 twice"),
        ({"dataset": ["a", "b"]}, "dataset cannot be searched"),
        ({"name": ["a", "b"]}, "name cannot be searched"),
        ({"lr": {"low": 2, "high": 1}}, "lr: low is 2 and high 1; low must be the smaller"),
        ({"lr": {"low": "x", "high": 1}}, "lr.low: Input should be a valid number"),
        ({"lr": {"low": 0.1, "high": 1, "lag": True}}, "lr.lag: Extra inputs are not permitted"),
        ({"forces_weight": {"low": 0, "high": 1, "log": True}}, "begins above 0"),
        ({"freeze": {"low": 1, "high": 100}}, "freeze=100: Input should be less than or equal to"),
        ({"batch_size": {"low": 1.5, "high": 4}}, "batch_size=1.5: Input should be a valid integer"),
        ({"batch_size": {"low": 1, "high": 4, "step": 0.5}}, "batch_size takes whole numbers"),
        ({"ema": {"low": 0, "high": 1}}, "ema=0.5: Input should be a valid boolean"),
        ({"replay.labels": ["own", "foundation"]}, "replay.labels='own': replay.labels is own, which needs a dataset"),
    ],
)
def test_a_space_that_a_finetuning_refuses_is_one_error_that_names_it(space: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        make(space)
    assert caught.value.error_count() == 1


def test_values_that_are_refused_only_together_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"replay\.labels='own', replay\.structures='train': "):
        make({"replay.labels": ["own"], "replay.structures": ["other", "train"]})
    together = make({"replay.labels": ["own"], "replay.structures": ["other", "another"]})
    assert together.count_points() == 2


def test_a_grid_needs_values_that_can_be_counted() -> None:
    with pytest.raises(ValidationError, match="a grid needs values to count: give lr as a list"):
        make({"lr": LOG_LR, "ema": [True, False]}, sampler="grid")
    with pytest.raises(ValidationError, match="the grid has 40000 points, at most 10000"):
        make({field: {"low": 1, "high": 200} for field in ("batch_size", "lora_rank")}, sampler="grid")
    stepped = make({"lr": {"low": 0.1, "high": 0.5, "step": 0.1}, "batch_size": {"low": 2, "high": 4}}, sampler="grid")
    assert stepped.list_points("lr") == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert stepped.list_points("batch_size") == [2, 3, 4]
    assert stepped.count_trials() == 15


@pytest.mark.parametrize(
    ("space", "fields", "expected"),
    [
        ({"lr": LOG_LR}, {}, 10),
        ({"lr": LOG_LR}, {"n_trials": 3}, 3),
        ({"seed": [1, 2, 3]}, {}, 3),
        ({"seed": [1, 2, 3]}, {"n_trials": 2, "sampler": "grid"}, 2),
        ({"seed": {"low": 0, "high": 99}}, {"sampler": "grid"}, 100),
        ({"seed": {"low": 0, "high": 99}}, {"sampler": "tpe"}, 10),
    ],
)
def test_trials_are_never_more_than_the_space_holds(space: object, fields: dict, expected: int) -> None:
    assert make(space, **fields).count_trials() == expected


def test_a_trial_is_the_base_but_for_its_values_and_name() -> None:
    base = FinetuneParams(dataset="mine", max_num_epochs=3)
    trial = make({"replay.weight": [0.5, 1]}, base=base).make_trial({"replay.weight": 0.5}, "sweep-t00")
    assert trial.replay.weight == 0.5
    assert trial.name == "sweep-t00"
    unchanged = trial.model_copy(update={"name": None, "replay": base.replay})
    assert unchanged == base


def test_a_name_of_the_base_is_refused_for_models_are_named_after_the_sweep() -> None:
    with pytest.raises(ValidationError, match="leave it empty"):
        make({"lr": [1]}, base={"name": "mine"})


def test_a_sweep_without_space_says_what_to_give() -> None:
    from typer.testing import CliRunner

    from deploy.cli.main import app

    result = CliRunner().invoke(app, ["sweep", "--name", "x"])
    assert result.exit_code == InputError.exit_code
    assert "nothing is searched: give --set space.FIELD=VALUES" in result.stderr


@given(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9))
def test_the_lower_end_is_the_lower(a: float, b: float) -> None:
    if a < b:
        assert RangeParams(low=a, high=b).low == a
    else:
        with pytest.raises(ValidationError, match="low must be the smaller"):
            RangeParams(low=a, high=b)
