"""Parameters are frozen, hashed alike everywhere, and name what they refuse."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from deploy.cli.run import build_params
from heo_core.errors import InputError
from heo_core.params import (
    BENCHMARK_KINDS,
    CurationParams,
    EvaluationParams,
    FinetuneParams,
    Params,
    PipelineParams,
    RelaxJobParams,
    ReplayParams,
    parse_benchmark,
)


def test_equal_parameters_have_equal_hashes_and_a_changed_field_another() -> None:
    assert FinetuneParams().compute_hash() == FinetuneParams(batch_size=FinetuneParams().batch_size).compute_hash()
    assert FinetuneParams(seed=1).compute_hash() != FinetuneParams().compute_hash()


def test_every_form_field_has_its_position() -> None:
    properties = FinetuneParams.model_json_schema()["properties"]
    assert [field["position"] for field in properties.values()] == list(range(len(properties)))
    assert next(iter(properties)) == "dataset"


@pytest.mark.parametrize("kind", BENCHMARK_KINDS)
def test_a_stored_benchmark_reads_back_as_itself(kind: str) -> None:
    params = EvaluationParams().get_benchmark(kind)
    assert parse_benchmark(params.model_dump(mode="json")) == params


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "../up", "x" * 101, "naïve", "a\0"])
def test_a_name_with_odd_characters_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        CurationParams(name=name)


@pytest.mark.parametrize("text", ["a\udcff.cif", "a\0.cif"], ids=["no UTF-8", "NUL"])
def test_what_no_database_keeps_as_text_is_refused_wherever_it_stands(text: str) -> None:
    with pytest.raises(ValidationError, match="is no text: it holds a NUL or bytes that are no UTF-8"):
        RelaxJobParams(files=("a.cif", text))
    with pytest.raises(ValidationError, match="is no text"):
        EvaluationParams.model_validate({"substitution_relax": {"composition": text}})


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_learning_rate_must_be_a_positive_number(value: float) -> None:
    with pytest.raises(ValidationError):
        FinetuneParams(lr=value)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="learning_rate"):
        FinetuneParams(learning_rate=0.1)


def test_set_words_reach_nested_fields_and_options_win_nothing_twice() -> None:
    params = build_params(PipelineParams, ["curation.rules.min_elements=6", "finetuning.foundation=mace-mp:medium"])
    assert params.curation.rules.min_elements == 6
    assert params.finetuning.foundation == "mace-mp:medium"
    assert params.evaluation == EvaluationParams()


@pytest.mark.parametrize("word", ["lr", "=1", ""])
def test_a_set_word_without_field_or_value_is_refused(word: str) -> None:
    with pytest.raises(InputError, match="FIELD=VALUE"):
        build_params(FinetuneParams, [word])


def test_a_set_word_cannot_enter_a_plain_value() -> None:
    with pytest.raises(InputError, match="set to a value already"):
        build_params(FinetuneParams, ["lr=1", "lr.x=1"])


@pytest.mark.parametrize(
    ("params", "field", "title"),
    [
        (FinetuneParams, "E0s", "E0s"),
        (ReplayParams, "max_force_ev_per_ang", "Max force (eV/Å)"),
        (ReplayParams, "n_cells", "N cells"),
    ],
)
def test_a_form_labels_a_field_with_its_unit(params: type[Params], field: str, title: str) -> None:
    assert params.model_json_schema()["properties"][field]["title"] == title
