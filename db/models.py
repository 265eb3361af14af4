"""Model versions: register, find, promote, compare, hand to heo_core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import BigInteger, Text, column, select, table, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session, aliased

from db.schema import Benchmark, Comparison, Dataset, Evaluation, Metric, ModelVersion, TrainingRun
from db.training import list_epochs_of_model
from db.versions import PRODUCTION, add_version, get_version, label
from heo_core.errors import InputError
from heo_core.records import ModelFile

type State = Literal["candidate", "production", "archived"]

HEADLINES = (
    "forces_mae_ev_per_ang",
    "forces_rmse_ev_per_ang",
    "forces_skill",
    "forces_softening_slope",
    "energy_rmse_ev_per_atom",
    "energy_skill",
    "energy_offset_removed_rmse_ev_per_atom",
    "equilibrium_volume_mae_fraction",
    "bulk_modulus_mae_fraction",
    "convergence_rate",
    "success_at_100",
    "displacement_rmsd_mean_ang",
    "reference_energy_mean_ev_per_atom",
)
"""Metrics that a model's summary shows; all others are in the table `metric`."""

_FACTS = ("code_version", "package_versions", "e0s", "dtype", "n_parameters", "r_max_ang")

_LINEAGE = table(
    "model_lineage",
    column("model", Text),
    column("parent", Text),
    column("depth", BigInteger),
    column("path", ARRAY(Text)),
    column("dataset", Text),
    column("strategy", Text),
    column("state", Text),
    column("warnings", ARRAY(Text)),
    column("model_version_id", BigInteger),
)


def register_published_model(
    session: Session,
    model: ModelFile,
    *,
    name: str,
    size_bytes: int | None,
    energy_scale: str | None,
    facts: Mapping[str, Any] | None = None,
) -> tuple[ModelVersion, bool]:
    """Register a model that was not made here; the same file under the same name is one version.

    facts: what is known of the file, any of code_version, package_versions, e0s (symbol to eV), dtype, n_parameters and
    r_max_ang (Å). Returns the version and whether it is new.
    """
    known = {} if facts is None else dict(facts)
    if unknown := sorted(known.keys() - set(_FACTS)):
        raise ValueError(f"no facts of a model: {', '.join(unknown)}; allowed: {', '.join(_FACTS)}")
    row, is_new = add_version(
        session,
        ModelVersion(
            name=name,
            key=model.sha256 or model.reference,
            family=model.family,
            reference=model.reference,
            sha256=model.sha256,
            size_bytes=size_bytes,
            artifact_uri=model.path,
            elements=list(model.elements),
            energy_scale=energy_scale,
            licence=model.licence,
            params={},
        ),
    )
    # The same file may have moved with its checkout or its artifact store.
    row.artifact_uri = model.path
    # And it may have been registered when less was known of it.
    for fact, value in known.items():
        if getattr(row, fact) is None:
            setattr(row, fact, value)
    session.flush()
    return row, is_new


def get_registered_model(session: Session, reference: str, *, allowed: str | None = None) -> ModelVersion:
    """NAME@VERSION, NAME@production or the newest NAME; InputError, naming those there are, if it is not registered.

    allowed: what else the caller takes, for the message.
    """
    return get_version(session, ModelVersion, reference, allowed=allowed)


def find_published(session: Session, reference: str) -> ModelVersion | None:
    """Version that a reference such as mace-mp:medium meant when it was first registered; None if it never was."""
    query = select(ModelVersion).where(ModelVersion.reference == reference, ModelVersion.parent_id.is_(None))
    return session.scalar(query.order_by(ModelVersion.id).limit(1))


def get_model(session: Session, model_version_id: int) -> ModelVersion:
    """Return one version by id."""
    return session.get_one(ModelVersion, model_version_id)


def load_model_file(session: Session, model_version_id: int) -> ModelFile:
    """Return what heo_core needs to load this version."""
    return to_model_file(get_model(session, model_version_id))


def find_newest_finetuned(session: Session) -> ModelVersion | None:
    """Return the model that was finetuned last, among those that are not archived; one from scratch has no parent."""
    query = select(ModelVersion).where(
        ModelVersion.training_run_id.is_not(None),
        ModelVersion.parent_id.is_not(None),
        ModelVersion.state != "archived",
    )
    return session.scalar(query.order_by(ModelVersion.created_at.desc(), ModelVersion.id.desc()).limit(1))


def to_model_file(row: ModelVersion) -> ModelFile:
    """Return what heo_core needs to load this version.

    One that was trained here or added from a file is called NAME@VERSION: its reference names what it was made of.
    """
    is_published = row.training_run_id is None and not row.reference.startswith("file:")
    return ModelFile(
        family=row.family,
        reference=row.reference if is_published else label(row),
        path=row.artifact_uri,
        sha256=row.sha256,
        elements=tuple(row.elements),
        licence=row.licence,
        energy_scale=row.energy_scale,
    )


def list_lineage(session: Session, model_version_id: int) -> tuple[str, ...]:
    """NAME@VERSION of a model and all it descends from, the oldest first."""
    row = get_model(session, model_version_id)
    older = () if row.parent_id is None else list_lineage(session, row.parent_id)
    return (*older, label(row))


def promote(session: Session, reference: str) -> tuple[ModelVersion, ModelVersion | None]:
    """Make a version the production version of its name; the former one becomes archived.

    Returns the version and the former one: None where there was none, itself where nothing changed. Two at once take
    turns until the end of the transaction.
    """
    row = get_registered_model(session, reference)
    _lock_states(session, row)
    in_production = select(ModelVersion).where(ModelVersion.name == row.name, ModelVersion.state == PRODUCTION)
    former = session.scalar(in_production.execution_options(populate_existing=True))
    if former is not None and former.id != row.id:
        former.state = "archived"
        session.flush()  # first, for no two versions of a name are in production at any moment
    row.state = PRODUCTION
    session.flush()
    return row, former


def archive(session: Session, reference: str, *, force: bool = False) -> ModelVersion:
    """Hide a version from lists and from what is taken when nothing is named; it can still be used by its name.

    InputError for a version in production unless forced, since then its name has none.
    """
    row = get_registered_model(session, reference)
    _lock_states(session, row)
    if row.state == PRODUCTION and not force:
        raise InputError(
            f"{label(row)} is in production: promote another version of {row.name} first, or archive it with --force"
        )
    row.state = "archived"
    session.flush()
    return row


def restore(session: Session, reference: str) -> ModelVersion:
    """Make an archived version a candidate again; InputError for one that is not archived."""
    row = get_registered_model(session, reference)
    _lock_states(session, row)
    if row.state != "archived":
        raise InputError(f"{label(row)} is not archived: its state is {row.state}")
    row.state = "candidate"
    session.flush()
    return row


def _lock_states(session: Session, row: ModelVersion) -> None:
    """Let nobody else change the states of this name's versions until the end of the transaction."""
    lock = {"lock": f"states of model_version {row.name}"}
    session.execute(text("select pg_advisory_xact_lock(hashtextextended(:lock, 0))"), lock)
    session.refresh(row)


def set_note(session: Session, reference: str, note: str) -> ModelVersion:
    """Write the note of a version, in place of the one it had; empty takes it away."""
    row = get_registered_model(session, reference)
    row.note = note.strip() or None
    session.flush()
    return row


def set_warnings(session: Session, model_version_id: int, warnings: Sequence[str]) -> None:
    """Write what the assessment found, in place of what it found before."""
    get_model(session, model_version_id).warnings = list(warnings)
    session.flush()


def list_models(session: Session, state: State | Literal["all"] | None = None) -> list[dict[str, Any]]:
    """One row a model version, newest first; without a state, all but the archived."""
    parent = aliased(ModelVersion)
    query = (
        select(ModelVersion, parent, Dataset, TrainingRun.strategy)
        .outerjoin(parent, parent.id == ModelVersion.parent_id)
        .outerjoin(Dataset, Dataset.id == ModelVersion.dataset_id)
        .outerjoin(TrainingRun, TrainingRun.id == ModelVersion.training_run_id)
        .order_by(ModelVersion.created_at.desc(), ModelVersion.id.desc())
    )
    if state != "all":
        query = query.where(ModelVersion.state != "archived" if state is None else ModelVersion.state == state)
    return [
        {
            "model": label(model),
            "state": model.state,
            "strategy": strategy,
            "parent": label(origin) if origin else None,
            "dataset": label(dataset) if dataset else None,
            "created": model.created_at,
            "warnings": model.warnings,
            "note": model.note,
            "family": model.family,
            "n_elements": len(model.elements) or None,
            "n_parameters": model.n_parameters,
            "licence": model.licence,
            "sha256": model.sha256,
        }
        for model, origin, dataset, strategy in session.execute(query)
    ]


def summarise(session: Session, model_version_id: int) -> dict[str, Any]:
    """Return all there is to know of a model version: where it comes from, how it was made, what was measured."""
    row = get_model(session, model_version_id)
    run = None if row.training_run_id is None else session.get_one(TrainingRun, row.training_run_id)
    line = list_lineage(session, model_version_id)
    children = select(ModelVersion).where(ModelVersion.parent_id == row.id).order_by(ModelVersion.id)
    return {
        "model": label(row),
        "id": row.id,
        "state": row.state,
        "note": row.note,
        "warnings": row.warnings,
        "lineage": list(line),
        "foundation": None if row.foundation_id is None else label(get_model(session, row.foundation_id)),
        "parent": None if row.parent_id is None else label(get_model(session, row.parent_id)),
        "children": [label(child) for child in session.scalars(children)],
        "family": row.family,
        "reference": row.reference,
        "licence": row.licence,
        "sha256": row.sha256,
        "size_bytes": row.size_bytes,
        "file": row.artifact_uri,
        "created": row.created_at,
        "elements": row.elements,
        "e0s": row.e0s,
        "energy_scale": row.energy_scale,
        "dtype": row.dtype,
        "n_parameters": row.n_parameters,
        "r_max_ang": row.r_max_ang,
        "dataset": None if row.dataset_id is None else label(session.get_one(Dataset, row.dataset_id)),
        "dataset_hash": row.dataset_hash,
        "strategy": None if run is None else run.strategy,
        "params": row.params,
        "params_hash": row.params_hash,
        "code_version": row.code_version,
        "package_versions": row.package_versions,
        "device": row.device,
        "wall_s": row.wall_s,
        "train_s": row.train_s,
        "training": None if run is None else _summarise_run(run),
        "evaluations": _list_headlines(session, model_version_id),
        "epochs": list_epochs_of_model(session, model_version_id),
    }


def _summarise_run(run: TrainingRun) -> dict[str, Any]:
    names = (
        "state n_train n_validation left_out e0_outliers replay best_epoch best_score stop_reason n_resumes "
        "mace_arguments flow_run_id started_at finished_at"
    )
    return {"run": run.id, **{name: getattr(run, name) for name in names.split()}}


def _list_headlines(session: Session, model_version_id: int) -> list[dict[str, Any]]:
    """One row a headline of a completed evaluation, and one an evaluation that is not."""
    query = (
        select(Evaluation, Benchmark, Metric)
        .join(Benchmark, Benchmark.id == Evaluation.benchmark_id)
        .outerjoin(
            Metric,
            (Metric.evaluation_id == Evaluation.id) & (Evaluation.state == "completed") & Metric.name.in_(HEADLINES),
        )
        .where(Evaluation.model_version_id == model_version_id, Evaluation.replaces_id.is_(None))
        .order_by(Benchmark.name, Benchmark.version, Metric.name)
    )
    return [
        {
            "benchmark": label(benchmark),
            "state": evaluation.state,
            "metric": metric.name if metric else None,
            "value": metric.value if metric else None,
            "ci_low": metric.ci_low if metric else None,
            "ci_high": metric.ci_high if metric else None,
            "unit": metric.unit if metric else None,
            "n": metric.n if metric else None,
            "failure": evaluation.failure,
        }
        for evaluation, benchmark, metric in session.execute(query)
    ]


def compare(session: Session, references: Sequence[str]) -> dict[str, Any]:
    """Return the numbers of models side by side, on every benchmark version that all of them completed.

    models: their labels, the one to compare with first. rows: benchmark, metric, unit, values (by label) and
    differences (by label: value, ci_low, ci_high and n of the paired difference to the first, where it is stored).
    InputError for fewer than two different models.
    """
    rows = {row.id: row for row in (get_registered_model(session, reference) for reference in references)}
    labels = {row.id: label(row) for row in rows.values()}
    if len(rows) < 2:
        raise InputError(f"two or more different models can be compared; given: {', '.join(labels.values()) or 'none'}")
    query = (
        select(Evaluation.model_version_id, Benchmark, Metric)
        .join(Benchmark, Benchmark.id == Evaluation.benchmark_id)
        .join(Metric, Metric.evaluation_id == Evaluation.id)
        .where(Evaluation.model_version_id.in_(rows), Evaluation.state == "completed")
        .order_by(Benchmark.name, Benchmark.version, Metric.name)
    )
    found: dict[tuple[str, str], dict[str, Any]] = {}
    evaluated: dict[str, set[int]] = {}
    for model_id, benchmark, metric in session.execute(query):
        evaluated.setdefault(label(benchmark), set()).add(model_id)
        row = found.setdefault(
            (label(benchmark), metric.name),
            {
                "benchmark": label(benchmark),
                "metric": metric.name,
                "unit": metric.unit,
                "values": dict.fromkeys(labels.values()),
            },
        )
        row["values"][labels[model_id]] = metric.value
    differences = _load_differences(session, list(rows))
    return {
        "models": list(labels.values()),
        "rows": [
            {**row, "differences": {labels[of]: value for of, value in differences.get(key, {}).items()}}
            for key, row in found.items()
            if len(evaluated[row["benchmark"]]) == len(rows)
        ],
    }


def _load_differences(
    session: Session, model_ids: Sequence[int]
) -> dict[tuple[str, str], dict[int, dict[str, float | int | None]]]:
    """Paired differences to the first model by (benchmark, metric) and model; one stored the other way is turned."""
    first, *others = model_ids
    baseline, candidate = aliased(Evaluation), aliased(Evaluation)
    query = (
        select(Comparison, Benchmark, baseline.model_version_id, candidate.model_version_id)
        .join(baseline, baseline.id == Comparison.baseline_id)
        .join(candidate, candidate.id == Comparison.candidate_id)
        .join(Benchmark, Benchmark.id == baseline.benchmark_id)
        .where(
            ((baseline.model_version_id == first) & candidate.model_version_id.in_(others))
            | (baseline.model_version_id.in_(others) & (candidate.model_version_id == first))
        )
    )
    found: dict[tuple[str, str], dict[int, dict[str, float | int | None]]] = {}
    for row, benchmark, baseline_id, candidate_id in session.execute(query):
        is_turned = candidate_id == first
        value, low, high = (row.value, row.ci_low, row.ci_high)
        if is_turned:
            value, low, high = (None if number is None else -number for number in (value, high, low))
        of = found.setdefault((label(benchmark), row.name), {})
        if not is_turned or baseline_id not in of:
            of[baseline_id if is_turned else candidate_id] = {
                "value": value,
                "ci_low": low,
                "ci_high": high,
                "n": row.n,
            }
    return found


def list_tree(session: Session, reference: str) -> list[dict[str, Any]]:
    """Return what NAME or NAME@VERSION descends from and what descends from it, as trees, the oldest at the top.

    A node has model, state, strategy, dataset, warnings and children. NAME alone means all its versions.
    """
    named = get_registered_model(session, reference)
    is_one = "@" in reference
    wanted = [ModelVersion.id == named.id] if is_one else [ModelVersion.name == named.name]
    chosen = {label(row) for row in session.scalars(select(ModelVersion).where(*wanted))}
    paths = session.scalars(select(_LINEAGE.c.path).where(_LINEAGE.c.model.in_(chosen)))
    older = {model for path in paths for model in path}
    query = select(_LINEAGE).where(_LINEAGE.c.model.in_(older) | _LINEAGE.c.path.overlap(list(chosen)))
    trees: list[dict[str, Any]] = []
    nodes: dict[str, dict[str, Any]] = {}
    for row in session.execute(query.order_by(_LINEAGE.c.depth, _LINEAGE.c.model_version_id)):
        node = {name: getattr(row, name) for name in ("model", "state", "strategy", "dataset", "warnings")}
        nodes[row.model] = {**node, "children": []}
        (trees if row.parent is None else nodes[row.parent]["children"]).append(nodes[row.model])
    return trees
