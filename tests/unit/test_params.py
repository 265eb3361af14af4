"""Parameters are frozen, hashed alike everywhere, and name what they refuse."""

from __future__ import annotations

import pytest
from prefect.utilities.schema_tools.validation import validate
from pydantic import ValidationError

from deploy.cli.run import build_params
from heo_core.errors import InputError
from heo_core.params import (
    BENCHMARK_KINDS,
    CurationParams,
    EvaluationParams,
    FinetuneParams,
    GenerationParams,
    GpawParams,
    Params,
    PipelineParams,
    RelaxJobParams,
    ReplayParams,
    ReportParams,
    SubstitutionRelaxParams,
    parse_benchmark,
)


def test_equal_parameters_have_equal_hashes_and_a_changed_field_another() -> None:
    assert FinetuneParams().compute_hash() == FinetuneParams(batch_size=FinetuneParams().batch_size).compute_hash()
    assert FinetuneParams(seed=1).compute_hash() != FinetuneParams().compute_hash()


def test_every_form_field_has_its_position() -> None:
    properties = FinetuneParams.model_json_schema()["properties"]
    assert [field["position"] for field in properties.values()] == list(range(len(properties)))
    assert next(iter(properties)) == "dataset"


def test_a_form_says_what_an_empty_field_of_a_finetuning_is_with_each_strategy() -> None:
    properties = FinetuneParams.model_json_schema()["properties"]
    assert properties["max_num_epochs"]["description"].endswith("; empty: 10; freeze 30, lora 30, scratch 40")
    assert properties["ema"]["description"].endswith("; empty: true")


def test_a_form_names_the_bound_of_a_number_that_may_be_left_empty() -> None:
    schema = FinetuneParams.model_json_schema()
    (refusal,) = validate({"max_num_epochs": -3}, schema)
    assert "minimum of 0" in refusal.message
    assert validate({"max_num_epochs": None, "ema_decay": 0.5}, schema) == []


@pytest.mark.parametrize(
    ("models", "subject"),
    [((), "the newest model"), (("a", "b@1"), "a, b@1"), (("a", "b", "c", "d", "e"), "a, b, c and 2 more")],
)
def test_a_run_is_named_after_its_models_in_a_few_words(models: tuple[str, ...], subject: str) -> None:
    assert EvaluationParams(models=models).subject == ReportParams(models=models).subject == subject


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


def test_a_set_word_writes_a_list_as_people_do() -> None:
    params = build_params(
        EvaluationParams,
        ["substitution_relax.supercell=1x2x3", "physics.metals=Mg,Ni,Zn", "rattle_relax.relax.optimizer=fire"],
    )
    assert params.substitution_relax.supercell == (1, 2, 3)
    assert params.physics.metals == ("Mg", "Ni", "Zn")
    assert params.rattle_relax.relax.optimizer == "fire"
    matrix = build_params(SubstitutionRelaxParams, ["supercell=[[0,2,2],[2,0,2],[2,2,0]]"])
    assert matrix.supercell == ((0, 2, 2), (2, 0, 2), (2, 2, 0))
    assert build_params(GenerationParams, ["composition=Mg0.5Ni0.5O", "supercell=4x2x2"]).supercell == (4, 2, 2)


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
        (GpawParams, "hubbard_u_ev", "Hubbard u (eV)"),
        (GpawParams, "start_moments_mub", "Start moments (μB)"),
    ],
)
def test_a_form_labels_a_field_with_its_unit(params: type[Params], field: str, title: str) -> None:
    assert params.model_json_schema()["properties"][field]["title"] == title
