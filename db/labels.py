"""Label sets: open one on its scale, add what is done, read it back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db import datasets, evaluations, models
from db.schema import Benchmark, Evaluation, LabelSet, Relaxation, RelaxedLabel, StructureLabel
from db.schema import Structure as StructureRow
from db.structures import add_structures, remove_unused, to_record
from db.versions import get_version, label
from heo_core.errors import InputError
from heo_core.labelling.label import Label, Origin, Wanted, apply_label
from heo_core.params import LabelParams, hash_json
from heo_core.records import Structure
from heo_core.structures.perturb import remove_labels


def open_label_set(
    session: Session,
    name: str,
    *,
    engine: str,
    functional: str,
    settings: dict[str, Any],
    versions: Mapping[str, str] | None = None,
) -> LabelSet:
    """Return the set of this name, made if it is not there; InputError, with what differs, if its scale is another.

    versions: of the programs that energies depend on; they must be those of the labels that the set has.
    """
    scale = {"engine": engine, "functional": functional, "settings": settings, "settings_hash": hash_json(settings)}
    session.execute(insert(LabelSet).values(name=name, **scale).on_conflict_do_nothing(index_elements=["name"]))
    found = get_label_set(session, name)
    if (found.engine, found.settings_hash) != (engine, scale["settings_hash"]):
        differ = sorted(key for key in found.settings | settings if found.settings.get(key) != settings.get(key))
        what = f"engine {found.engine}, not {engine}" if found.engine != engine else f"other {', '.join(differ)}"
        raise _refuse(name, what)
    check_versions(session, found, versions or {})
    return found


def check_versions(session: Session, label_set: LabelSet, versions: Mapping[str, str]) -> None:
    """InputError, naming both, where labels of a set are by other versions of these programs; failures do not count.

    The set is locked till the end of the transaction: of two runs that both want to give the first label, one waits.
    """
    session.execute(select(LabelSet.id).where(LabelSet.id == label_set.id).with_for_update(key_share=True))
    for program, version in versions.items():
        stored = StructureLabel.versions[program].astext
        query = select(stored).where(StructureLabel.label_set_id == label_set.id, StructureLabel.failure.is_(None))
        if (other := session.scalar(query.where(stored != version).limit(1))) is not None:
            raise _refuse(label_set.name, f"labels by {program} {other}, not {version}")


def _refuse(name: str, what: str) -> InputError:
    return InputError(
        f"label set {name!r} has {what}: energies of two scales are never mixed; choose another name for these"
    )


def get_label_set(session: Session, name: str) -> LabelSet:
    """Return the set of a name; InputError, naming those there are, if there is none."""
    found = session.scalar(select(LabelSet).where(LabelSet.name == name))
    if found is None:
        known = ", ".join(session.scalars(select(LabelSet.name).order_by(LabelSet.name))) or "none yet"
        raise InputError(f"there is no label set {name!r}; there is: {known}")
    return found


def list_done(session: Session, label_set_id: int, *, with_failures: bool) -> set[str]:
    """Content hashes, without labels, of the structures that a set has; with_failures: also of those that failed."""
    query = (
        select(StructureRow.content_hash)
        .join(StructureLabel, StructureLabel.structure_id == StructureRow.id)
        .where(StructureLabel.label_set_id == label_set_id)
    )
    return set(session.scalars(query if with_failures else query.where(StructureLabel.failure.is_(None))))


def remove_failures(session: Session, label_set_id: int, content_hashes: Sequence[str]) -> None:
    """Forget that these structures, by their content hashes without labels, failed: they are labelled again."""
    meant = select(StructureRow.id).where(StructureRow.content_hash.in_(content_hashes))
    session.execute(
        delete(StructureLabel).where(
            StructureLabel.label_set_id == label_set_id,
            StructureLabel.failure.is_not(None),
            StructureLabel.structure_id.in_(meant),
        )
    )


def add_label(
    session: Session,
    label_set: LabelSet,
    bare: Structure,
    label: Label,
    *,
    flow_run_id: str | None = None,
) -> None:
    """Store the label of a structure, in place of an earlier one; bare: the structure without labels."""
    labelled = None if label.failure is not None else apply_label(bare, label, label_set.functional)
    ids = add_structures(session, [bare] if labelled is None else [bare, labelled])
    values = {
        "label_set_id": label_set.id,
        "structure_id": ids[bare.content_hash],
        "labelled_id": None if labelled is None else ids[labelled.content_hash],
        "failure": label.failure,
        "moments_mub": None if label.moments_mub is None else label.moments_mub.tolist(),
        "total_moment_mub": label.total_moment_mub,
        "magnetic_start": label.magnetic_start,
        "starts": {
            start["start"]: start["energy_ev"] if start["failure"] is None else start["failure"]
            for start in label.starts
        },
        "versions": label.versions,
        "wall_s": label.wall_s,
        "flow_run_id": flow_run_id,
    }
    statement = insert(StructureLabel).values(values)
    session.execute(statement.on_conflict_do_update(index_elements=["label_set_id", "structure_id"], set_=values))


def set_origins(session: Session, label_set_id: int, wanted: Sequence[Wanted]) -> None:
    """Say which of these structures a model relaxed to, whether they are labelled already or not; the newest stands.

    Relaxed structures whose model relaxes that case to nothing now are forgotten; so is every structure that is
    replaced or forgotten before it was labelled.
    """
    relaxed = [(one.structure, one.origin) for one in wanted if one.origin is not None]
    ids = add_structures(session, (structure for structure, _ in relaxed))
    of_set = select(RelaxedLabel.structure_id).where(RelaxedLabel.label_set_id == label_set_id)
    before = set(session.scalars(of_set))
    session.execute(
        delete(RelaxedLabel).where(
            RelaxedLabel.label_set_id == label_set_id,
            RelaxedLabel.benchmark_id == Evaluation.benchmark_id,
            RelaxedLabel.model_version_id == Evaluation.model_version_id,
            RelaxedLabel.case_index == Relaxation.case_index,
            Relaxation.evaluation_id == Evaluation.id,
            Evaluation.state == "completed",
            Evaluation.replaces_id.is_(None),
            Relaxation.lattice_ang.is_(None) | Relaxation.positions_ang.is_(None),
        )
    )
    for structure, origin in relaxed:
        key = {
            "label_set_id": label_set_id,
            "benchmark_id": origin.benchmark_id,
            "case_index": origin.case_index,
            "model_version_id": origin.model_version_id,
        }
        found = {"structure_id": ids[structure.content_hash], "converged": origin.converged}
        statement = insert(RelaxedLabel).values(**key, **found)
        session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=found))
    remove_unused(session, before - set(session.scalars(of_set)))


def iter_wanted(session: Session, params: LabelParams) -> Iterator[Wanted]:
    """Structures that are meant, of a dataset, of a benchmark, or final ones of models on it.

    InputError for what is not there, and for a model that has no completed evaluation on the benchmark.
    """
    if params.dataset is not None:
        dataset_id = datasets.get_dataset(session, params.dataset).id
        for structure, _ in datasets.iter_split(session, dataset_id, params.split):
            yield Wanted(remove_labels(structure))
        return
    benchmark = get_version(session, Benchmark, params.benchmark or "")
    _, cases = evaluations.load_cases(session, benchmark.id)
    if not params.relaxed_by:
        yield from (Wanted(remove_labels(case.start)) for case in cases)
    for reference in params.relaxed_by:
        model = models.get_registered_model(session, reference)
        evaluation = evaluations.find_evaluation(session, model.id, benchmark.id)
        if evaluation is None or evaluation.state != "completed":
            raise InputError(f"{label(model)} has no completed evaluation on {label(benchmark)}: 'heo evaluate' first")
        for index, relaxation in sorted(evaluations.load_relaxations(session, evaluation.id).items()):
            if relaxation.lattice is None or relaxation.positions is None:
                continue
            start = remove_labels(cases[index].start)
            name = f"{start.immutable_id}/{label(model)}"
            final = replace(start, lattice=relaxation.lattice, positions=relaxation.positions, immutable_id=name)
            yield Wanted(final, Origin(benchmark.id, index, model.id, relaxation.converged))


def load_labelled(session: Session, name: str) -> list[Structure]:
    """Labelled structures of a set, without those that failed, in the order of their content hashes."""
    query = (
        select(StructureRow)
        .join(StructureLabel, StructureLabel.labelled_id == StructureRow.id)
        .where(StructureLabel.label_set_id == get_label_set(session, name).id)
        .order_by(StructureRow.content_hash)
    )
    return [to_record(row) for row in session.scalars(query)]


def list_label_sets(session: Session) -> list[dict[str, Any]]:
    """One row a set, newest first."""
    labels = select(
        StructureLabel.label_set_id,
        func.count(StructureLabel.labelled_id).label("labelled"),
        func.count(StructureLabel.failure).label("failed"),
    ).group_by(StructureLabel.label_set_id)
    counted = labels.subquery()
    query = (
        select(LabelSet, func.coalesce(counted.c.labelled, 0), func.coalesce(counted.c.failed, 0))
        .outerjoin(counted, counted.c.label_set_id == LabelSet.id)
        .order_by(LabelSet.created_at.desc(), LabelSet.id.desc())
    )
    return [
        {
            "labels": row.name,
            "engine": row.engine,
            "functional": row.functional,
            "labelled": labelled,
            "failed": failed,
            "created": row.created_at,
        }
        for row, labelled, failed in session.execute(query)
    ]


def summarise(session: Session, name: str) -> dict[str, Any]:
    """Return what there is to know of a set: its scale, counts, and every structure."""
    label_set = get_label_set(session, name)
    query = (
        select(StructureRow, StructureLabel)
        .join(StructureLabel, StructureLabel.structure_id == StructureRow.id)
        .where(StructureLabel.label_set_id == label_set.id)
        .order_by(StructureLabel.created_at, StructureRow.id)
    )
    rows = session.execute(query).all()
    labelled = _load_energies(session, [row.labelled_id for _, row in rows if row.labelled_id is not None])
    return {
        "labels": label_set.name,
        "engine": label_set.engine,
        "functional": label_set.functional,
        "settings": label_set.settings,
        "labelled": sum(row.failure is None for _, row in rows),
        "failed": sum(row.failure is not None for _, row in rows),
        "structures": [
            {
                "structure": bare.immutable_id,
                "formula": bare.formula_reduced,
                "n_atoms": bare.n_atoms,
                **labelled.get(row.labelled_id, {"energy_ev_per_atom": None, "fmax_ev_per_ang": None}),
                "total_moment_mub": row.total_moment_mub,
                "wall_s": row.wall_s,
                "failure": row.failure,
            }
            for bare, row in rows
        ],
    }


def _load_energies(session: Session, ids: Sequence[int]) -> dict[int | None, dict[str, float | None]]:
    found = session.scalars(select(StructureRow).where(StructureRow.id.in_(ids)))
    return {
        row.id: {
            "energy_ev_per_atom": None if row.energy_ev is None else row.energy_ev / row.n_atoms,
            "fmax_ev_per_ang": row.fmax_ev_per_ang,
        }
        for row in found
    }
