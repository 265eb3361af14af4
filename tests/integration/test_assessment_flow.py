"""What a finetuning has cost, found on a real MACE that was made worse in a known way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from querying import query

from db.engine import session_scope
from db.schema import ModelVersion
from deploy.services.prefect_api import PrefectApi
from flows.settings import load_settings
from heo_core.assets import SAMPLE_DIR
from heo_core.errors import InputError
from heo_core.models import resolve_model
from heo_core.params import (
    CurationParams,
    EvaluationParams,
    OffEquilibriumErrorsParams,
    OffEquilibriumParams,
    ReportParams,
    RuleParams,
)

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("fewer_cells")]


@pytest.fixture(scope="module")
def database_url(shared_database_url: str) -> str:
    """One database for all tests here: what the parent is measured for is the same."""
    return shared_database_url


@pytest.fixture(scope="module")
def home(shared_home: Path) -> Path:
    return shared_home


@pytest.fixture(scope="module")
def dataset_id(home: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """A dataset of the sample's smallest cells, with copies off equilibrium that nobody has labelled."""
    from flows.curate import curate

    file = tmp_path_factory.mktemp("source") / "small.parquet"
    table = pq.read_table(SAMPLE_DIR / "train-00000-of-00001.parquet")
    pq.write_table(table.slice(0, 120), file)
    return curate(
        CurationParams(
            name="small",
            source=str(file),
            rules=RuleParams(max_n_atoms=16),
            off_equilibrium=OffEquilibriumParams(n_copies=1),
            map="none",
        )
    )


Change = Callable[[torch.nn.Module], None]


@pytest.fixture
def make_model(home: Path, tmp_path: Path) -> Callable[[str, Change], int]:
    """Register heo-mini, changed in some way."""
    from flows.registry import register_model

    def make(name: str, change: Change) -> int:
        module = torch.load(resolve_model("heo-mini").path, weights_only=False, map_location="cpu")
        with torch.no_grad():
            change(module)
        torch.save(module, tmp_path / f"{name}.model")
        return register_model(f"file:{tmp_path / name}.model", load_settings(), name=name)

    return make


@pytest.fixture
def make_child(make_model: Callable[[str, Change], int], dataset_id: int) -> Callable[[str, Change], int]:
    """Register such a one as a child of heo-mini that was trained on the dataset."""
    from flows.registry import register_model

    def make(name: str, change: Change) -> int:
        child_id, parent_id = make_model(name, change), register_model("heo-mini", load_settings())
        with session_scope(load_settings().resolve_database_url()) as session:
            child = session.get_one(ModelVersion, child_id)
            child.parent_id, child.dataset_id = parent_id, dataset_id
        return child_id

    return make


def assess(model_version_id: int) -> None:
    """Run the task as the finetuning does: inside a flow."""
    from prefect import flow

    from flows.assess import assess_model

    flow(lambda: assess_model(model_version_id), name="assess")()


def soften(module: torch.nn.Module) -> None:
    module.scale_shift.scale *= 0.7


def forget(module: torch.nn.Module) -> None:
    torch.manual_seed(0)
    for parameter in module.parameters():
        parameter.mul_(1 + 0.15 * torch.randn_like(parameter))


def get_warnings(url: str, model_version_id: int) -> list[str]:
    return query(url, f"select warnings from model_version where id = {model_version_id}")[0][0]


def list_tables(prefect_api_url: str, key: str) -> dict[str, list[dict[str, Any]]]:
    """Rows of table artifacts by what is said of each."""
    with PrefectApi(prefect_api_url) as api:
        artifacts = api.request("POST", "/artifacts/filter", {"artifacts": {"key": {"any_": [key]}}})
    return {artifact["description"]: json.loads(artifact["data"]) for artifact in artifacts}


def test_a_child_of_seven_tenths_the_force_is_marked_softer_and_a_second_assessment_computes_nothing(
    make_child: Callable[[str, Change], int], database_url: str, home: Path, prefect_api_url: str
) -> None:
    from flows.evaluate import evaluate
    from flows.report import report
    from flows.task_names import name_by_labels

    child_id = make_child("scaled", soften)
    assess(child_id)
    shown = list_tables(prefect_api_url, "assessment")
    measured = shown["scaled@1 against its parent heo-mini@1: what was measured after the training"]
    assert len(measured) == 4 * 2 + 3 * 3
    (slope,) = [row for row in measured if row["benchmark"] == "off-equilibrium@1" and "slope" in row["metric"]]
    assert slope["child"] == pytest.approx(0.7 * slope["parent"], rel=1e-3)
    assert slope["paired difference"] == pytest.approx(-0.3 * slope["parent"], rel=1e-3)
    of_cells = "select evaluation.id from evaluation join benchmark on benchmark.id = benchmark_id where name = '%s'"
    pair = sorted(query(database_url, of_cells % "off-equilibrium"), reverse=True)
    (baseline_id,), (candidate_id,) = pair
    compare = name_by_labels("compare {candidate_id} with {baseline_id}")
    assert compare({"candidate_id": candidate_id, "baseline_id": baseline_id}) == (
        "compare scaled@1 on off-equilibrium@1 with heo-mini@1"
    )
    warnings = get_warnings(database_url, child_id)
    assert any(warning.startswith("Softer: the softening slope off equilibrium is 0.") for warning in warnings)
    slopes = dict(
        query(
            database_url,
            "select model, value from evaluation_metric "
            "where benchmark = 'off-equilibrium@1' and metric = 'forces_softening_slope'",
        )
    )
    assert slopes["scaled@1"] == pytest.approx(0.7 * slopes["heo-mini@1"], rel=1e-6)
    pair = f"({child_id}, (select parent_id from model_version where id = {child_id}))"
    done = "select name, state from evaluation join benchmark on benchmark.id = benchmark_id"
    kinds = query(database_url, f"{done} where model_version_id in {pair}")
    assert len(kinds) == 14
    assert {name for name, _ in kinds} == {
        "off-equilibrium",
        "dft-offeq",
        "forgetting-holdout",
        "equation-of-state",
        "energy-forces:small",
        "energy-forces:small:validation",
        "energy-forces:small:train",
    }
    assert {state for _, state in kinds} == {"completed"}
    # Every energy difference is 0.7 times the parent's: the same volume, 0.7 of the stiffness.
    curves = """
        select child.equilibrium_volume_ang3_per_atom / parent.equilibrium_volume_ang3_per_atom,
            child.bulk_modulus_gpa / parent.bulk_modulus_gpa
        from volume_curve as child join evaluation as of_child on of_child.id = child.evaluation_id
        join volume_curve as parent using (material) join evaluation as of_parent on of_parent.id = parent.evaluation_id
        join model_version on model_version.id = of_child.model_version_id
        where model_version.id = %d and of_parent.model_version_id = parent_id and child.failure is null
    """
    found = query(database_url, curves % child_id)
    assert len(found) >= 5
    for volumes, moduli in found:
        assert volumes == pytest.approx(1, rel=1e-6)
        assert moduli == pytest.approx(0.7, rel=1e-5)
    stresses = f"""
        select count(stress_rmse_ev_per_ang3) from prediction join evaluation on evaluation.id = evaluation_id
        where model_version_id in {pair}
    """
    assert query(database_url, stresses) == [(160,)]

    tables = ("evaluation", "prediction", "metric", "comparison", "volume_curve", "benchmark")
    rows = {table: query(database_url, f"select ctid, xmin from {table} order by 1") for table in tables}
    assess(child_id)
    evaluate(
        EvaluationParams(
            models=("heo-mini", "scaled"), dataset="small", benchmarks=("energy-forces", "off-equilibrium")
        )
    )
    assert {table: query(database_url, f"select ctid, xmin from {table} order by 1") for table in tables} == rows
    assert get_warnings(database_url, child_id) == warnings

    report(ReportParams(models=("heo-mini", "scaled"), name="softened"))
    page = (home / "reports" / "softened.html").read_text()
    assert "beyond the limit" in page
    answer = json.loads((home / "reports" / "softened.json").read_text())["summary"]
    assert any("The finetuned model is softer" in line or "softening slope" in line for line in answer)


def test_a_child_with_shaken_weights_has_forgotten(
    make_child: Callable[[str, Change], int], database_url: str, home: Path
) -> None:
    child_id = make_child("shaken", forget)
    assess(child_id)
    warnings = get_warnings(database_url, child_id)
    assert any(
        warning.startswith("Forgets: the offset-removed energy RMSE on simple oxides went") for warning in warnings
    )


def test_a_child_that_is_its_parent_is_not_marked_and_a_failing_benchmark_is_a_row(
    make_child: Callable[[str, Change], int], database_url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import flows.benchmarks

    child_id = make_child("same", lambda module: module.scale_shift.scale.mul_(1 + 1e-9))
    compute = flows.benchmarks.equation_of_state.compute_metrics

    def fail(*args: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(flows.benchmarks.equation_of_state, "compute_metrics", fail)
    assess(child_id)
    assert get_warnings(database_url, child_id) == [
        "Not measured: there is no number of equation-of-state, so its limit was not checked."
    ]
    failed = f"select state, failure from evaluation where state <> 'completed' and model_version_id = {child_id}"
    assert query(database_url, failed) == [("failed", "RuntimeError: out of memory")]
    monkeypatch.setattr(flows.benchmarks.equation_of_state, "compute_metrics", compute)
    assess(child_id)
    assert get_warnings(database_url, child_id) == []


def test_a_model_without_parent_and_dataset_is_measured_and_never_marked(
    make_model: Callable[[str, Change], int], database_url: str
) -> None:
    model_id = make_model("orphan", lambda module: module.scale_shift.scale.mul_(0.9))
    assess(model_id)
    done = f"select count(*) from evaluation where state = 'completed' and model_version_id = {model_id}"
    assert query(database_url, done) == [(4,)]
    assert get_warnings(database_url, model_id) == []


def test_a_dataset_of_ones_own_measures_softening_and_one_without_labels_is_refused(
    dataset_id: int, database_url: str
) -> None:
    from flows.evaluate import evaluate

    def run(split: str) -> list[int]:
        off = OffEquilibriumErrorsParams(dataset="small", split=split)
        return evaluate(EvaluationParams(models=("heo-mini",), benchmarks=("off-equilibrium",), off_equilibrium=off))

    with pytest.raises(InputError, match=r"off_equilibrium of small@1 cannot measure .* none of its .* has forces"):
        run("off_equilibrium")
    run("validation")
    own = "select name, params ->> 'dataset' from benchmark where name like 'off-equilibrium:%'"
    assert query(database_url, own) == [("off-equilibrium:small:validation", "small@1")]
    slopes = "select n from evaluation_metric where benchmark = 'off-equilibrium:small:validation@1' and metric = '%s'"
    ((n,),) = query(database_url, slopes % "forces_softening_slope")
    assert n > 3
