"""What must hold in the database, whatever became of the processes that write to it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from db.files import list_files
from db.schema import ModelVersion, Report, Structure, Sweep
from heo_core.artifacts import ArtifactStore
from heo_core.errors import HeoError

_EXAMPLES = 3


@dataclass(frozen=True)
class Check:
    """One thing that must hold: how often it does not, and a few of the rows or files concerned."""

    name: str
    n_violations: int
    examples: tuple[str, ...]


def check_rows(session: Session) -> list[Check]:
    """Look for duplicates, orphans, counts that do not fit, and work that says it is done or under way and is not."""
    counted = "select count(*), (array_agg(what order by what))[1:{}] from ({}) as violation (what)"
    return [
        Check(name, count, tuple(examples or ()))
        for name, query in _CHECKS.items()
        for count, examples in session.execute(text(counted.format(_EXAMPLES, query)))
    ]


def check_files(session: Session, artifacts: ArtifactStore) -> Check:
    """Read every file that a row names, and compare it with its sha256."""
    wrong = []
    for file in list_files(session):
        try:
            artifacts.check(file.uri, file.sha256)
        except HeoError as exc:
            wrong.append(f"{file.owner}: {exc}")
    return Check("files are there and unchanged", len(wrong), tuple(wrong[:_EXAMPLES]))


def is_empty(session: Session) -> bool:
    """Tell whether nobody has done anything in this database yet."""
    return not any(session.scalar(select(table.id).limit(1)) for table in (Structure, ModelVersion, Sweep, Report))


# Each query names what violates the rule that is its key.
_CHECKS = {
    "structures are stored once": "select content_hash from structure group by 1 having count(*) > 1",
    "a model has one evaluation on a benchmark": """
        select 'model ' || model_version_id || ' on benchmark ' || benchmark_id from evaluation
        where replaces_id is null group by model_version_id, benchmark_id having count(*) > 1
    """,
    "structures belong to a dataset, a benchmark or labels": """
        select structure.immutable_id from structure
        where not exists (select from dataset_member where structure_id = structure.id)
        and not exists (select from benchmark_case where structure_id = structure.id)
        and not exists (select from benchmark_case where target_id = structure.id)
        and not exists (select from structure_label where structure_id = structure.id)
        and not exists (select from structure_label where labelled_id = structure.id)
        and not exists (select from relaxed_label where structure_id = structure.id)
    """,
    "datasets have the members that they count": """
        select name || '@' || version from dataset
        left join dataset_member on dataset_id = dataset.id and split <> 'off_equilibrium'
        group by dataset.id having count(structure_id) <> n_kept
    """,
    "datasets have the elements that they count": """
        select distinct coalesce(stored.dataset_id, counted.dataset_id) || ' ' || coalesce(stored.split, counted.split)
        from dataset_element as stored
        full join (
            select dataset_id, split, element.symbol, count(*) as n
            from dataset_member join structure on structure.id = structure_id
            cross join lateral unnest(elements) as element (symbol)
            group by dataset_id, split, element.symbol
        ) as counted
        on stored.dataset_id = counted.dataset_id and stored.split = counted.split and stored.element = counted.symbol
        where stored.n_structures is distinct from counted.n
    """,
    "benchmarks have the cases that they count": """
        select name || '@' || version from benchmark
        left join benchmark_case on benchmark_id = benchmark.id
        group by benchmark.id having count(case_index) <> n_cases
    """,
    "completed evaluations have every prediction or relaxation": """
        select 'evaluation ' || evaluation.id from evaluation
        join benchmark on benchmark.id = benchmark_id
        where state = 'completed' and case
            when kind in ('rattle-relax', 'substitution-relax', 'relax') then
                (select count(*) from relaxation where evaluation_id = evaluation.id) <> n_cases
            else
                (select count(*) from prediction where evaluation_id = evaluation.id)
                <> (select count(distinct structure_id) from benchmark_case where benchmark_id = benchmark.id)
        end
    """,
    "completed evaluations have summary numbers": """
        select 'evaluation ' || evaluation.id from evaluation join benchmark on benchmark.id = benchmark_id
        where state = 'completed' and n_cases > 0
        and not exists (select from metric where evaluation_id = evaluation.id)
    """,
    "completed evaluations have replaced what they were to replace": """
        select 'evaluation ' || id from evaluation where state = 'completed' and replaces_id is not null
    """,
    "predictions are of structures of their benchmark": """
        select distinct 'evaluation ' || evaluation_id from prediction
        join evaluation on evaluation.id = evaluation_id
        where not exists (
            select from benchmark_case
            where benchmark_case.structure_id = prediction.structure_id
            and benchmark_case.benchmark_id = evaluation.benchmark_id
        )
    """,
    "relaxations are of cases of their benchmark": """
        select distinct 'evaluation ' || evaluation_id from relaxation
        join evaluation on evaluation.id = evaluation_id
        where not exists (
            select from benchmark_case
            where benchmark_case.case_index = relaxation.case_index
            and benchmark_case.benchmark_id = evaluation.benchmark_id
        )
    """,
    "relaxations are summed as they are": """
        select 'evaluation ' || evaluation.id from evaluation
        left join relaxation_total on relaxation_total.evaluation_id = evaluation.id
        where state = 'completed'
        and coalesce(n_structures, 0) <> (select count(*) from relaxation where evaluation_id = evaluation.id)
    """,
    "comparisons are of one benchmark": """
        select distinct 'evaluations ' || baseline_id || ' and ' || candidate_id from comparison
        join evaluation as baseline on baseline.id = baseline_id
        join evaluation as candidate on candidate.id = candidate_id
        where baseline.benchmark_id <> candidate.benchmark_id
    """,
    "completed trainings have made a model, the others none": """
        select 'training ' || training_run.id from training_run
        left join model_version on training_run_id = training_run.id
        where (training_run.state = 'completed') <> (model_version.id is not null)
    """,
    "completed trials have a model, and a score or why not": """
        select 'trial ' || number || ' of sweep ' || sweep_id from sweep_trial
        where state = 'completed' and (model_version_id is null or (score is null and failure is null))
    """,
    # Whoever works on one of them holds its lock, see db.engine.exclusive.
    "something works on what is running": """
        select what from (
            select 'evaluation ' || id, 'evaluation:' || model_version_id || ':' || benchmark_id
            from evaluation where state = 'running'
            union all
            select 'training ' || id, 'training:' || key from training_run where state = 'running'
        ) as running (what, lock)
        where not exists (
            select from pg_locks
            where locktype = 'advisory' and objsubid = 1
            and database = (select oid from pg_database where datname = current_database())
            and ((classid::bigint << 32) | objid::bigint) = hashtextextended(lock, 0)
        )
    """,
}
