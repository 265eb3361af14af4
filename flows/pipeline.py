"""Pipeline: curate, finetune, evaluate the parent against its child, report."""

from __future__ import annotations

from prefect import flow, tags

from db import datasets, models
from db.engine import session_scope
from db.versions import label
from flows.admission import admit
from flows.curate import curate
from flows.evaluate import evaluate
from flows.finetune import finetune
from flows.report import report
from flows.settings import TAG, load_settings
from heo_core.params import CurationParams, EvaluationParams, FinetuneParams, PipelineParams, ReportParams


def _name_dataset(dataset_id: int) -> str:
    with session_scope(load_settings().resolve_database_url()) as session:
        return label(datasets.get_dataset_by_id(session, dataset_id))


def _name_models(model_version_id: int) -> tuple[str, ...]:
    """Parent and child."""
    with session_scope(load_settings().resolve_database_url()) as session:
        return models.list_lineage(session, model_version_id)[-2:]


@flow(name="pipeline", flow_run_name="pipeline {curation.name}", description=__doc__)
def heo_pipeline(
    curation: CurationParams = PipelineParams().curation,
    finetuning: FinetuneParams = PipelineParams().finetuning,
    evaluation: EvaluationParams = EvaluationParams(),
    reporting: ReportParams = PipelineParams().reporting,
) -> int:
    """Return the id of the report. Dataset and models are those made on the way, whatever the later groups name."""
    admit(curation, finetuning, evaluation, reporting)
    with tags(TAG):  # its parts are runs of their own, and have no tag of the deployment
        dataset_id = curate(curation)
        dataset = _name_dataset(dataset_id)
        model_version_id = finetune(finetuning.model_copy(update={"dataset": dataset}))
        compared = _name_models(model_version_id)
        evaluate(evaluation.model_copy(update={"dataset": dataset, "models": compared}))
        return report(reporting.model_copy(update={"models": compared}))
