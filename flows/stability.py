"""Stability: mixtures of cations against oxides of one; cells relaxed, enthalpies of mixing, one map of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict

from prefect import flow, task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from db import reports
from db import stability as studies
from db.engine import session_scope
from flows.admission import admit, limit
from flows.artifact_tables import put_into_words, show_table
from flows.progress import ProgressReporter
from flows.registry import load_model_file
from flows.relax import find_model
from flows.settings import load_settings
from flows.shared_work import share_out
from flows.tries import AGAIN
from heo_core.errors import InputError
from heo_core.evaluation.relax import relax_structures
from heo_core.evaluation.relax_files import write_summary
from heo_core.models import load_model, resolve_device
from heo_core.models.potential import Potential
from heo_core.params import StabilityParams
from heo_core.records import Relaxation, Structure
from heo_core.reporting.page import write_page
from heo_core.reporting.stability import StabilityMap, render_map, summarise_map
from heo_core.stability.mixing import compute_cell_spread, summarise_mixture
from heo_core.stability.mixtures import list_mixtures, make_cell, name_mixture
from heo_core.stability.oxides import POLYMORPHS, Oxide, choose_references, make_oxide


class StabilityResult(TypedDict):
    """The study that the cells belong to, and the page of its map."""

    study_id: int
    page: str


@task(name="define the study", cache_policy=NO_CACHE, **AGAIN)
def define_study(params: StabilityParams, model_id: int) -> int:
    """Return the id of the study that cells made and relaxed like this by this model belong to."""
    with session_scope(load_settings().resolve_database_url()) as session:
        study_id = studies.add_study(session, model_id, params.protocol)
        if params.retry_failed:
            studies.remove_failures(session, study_id)
    return study_id


@task(name="relax the oxides", cache_policy=NO_CACHE, **AGAIN)
def relax_oxides(study_id: int, params: StabilityParams) -> None:
    """Relax the oxide of every cation in every crystal that it may have; what is stored is not done again."""
    url = load_settings().resolve_database_url()

    def find_done() -> set[tuple[str, str]]:
        with session_scope(url) as session:
            return {(oxide.cation, oxide.polymorph) for oxide in studies.load_oxides(session, study_id)}

    def work(potential: Potential, pieces: list[tuple[str, str]]) -> None:
        makers = {piece: partial(make_oxide, *piece, params) for piece in pieces}
        for (cation, crystal), oxide, relaxation, failure in _relax(potential, makers, params):
            energy = relaxation.energy_final_ev if relaxation is not None and relaxation.converged else None
            per_atom = None if energy is None or oxide is None else energy / oxide.n_atoms
            with session_scope(url) as session:
                studies.add_oxide(session, study_id, Oxide(cation, crystal, per_atom, failure))

    pieces = [(cation, crystal) for cation in params.cations for crystal in POLYMORPHS[params.prototype]]
    _share_out(study_id, params, "oxides relaxed", pieces, find_done, work)


@task(name="relax the cells", cache_policy=NO_CACHE, **AGAIN)
def relax_cells(study_id: int, params: StabilityParams) -> None:
    """Relax the cells of every mixture, the first of each before the second of any; each is stored when it is done."""
    url = load_settings().resolve_database_url()
    mixtures = {name_mixture(cations): cations for cations in list_mixtures(params)}

    def find_done() -> set[tuple[str, int]]:
        with session_scope(url) as session:
            return studies.list_done(session, study_id)

    def work(potential: Potential, pieces: list[tuple[str, int]]) -> None:
        makers = {(name, number): partial(make_cell, mixtures[name], number, params) for name, number in pieces}
        for (name, number), cell, relaxation, failure in _relax(potential, makers, params):
            spread, problem = None, failure
            if cell is not None and relaxation is not None:
                try:
                    spread = compute_cell_spread(cell, relaxation, mixtures[name], params)
                except InputError as exc:
                    problem = str(exc)
            with session_scope(url) as session:
                studies.add_cell(
                    session,
                    study_id,
                    name,
                    number,
                    species=() if cell is None else cell.species,
                    relaxation=relaxation,
                    bond_spread_ang=spread,
                    failure=failure or problem,
                )

    pieces = [(name, number) for number in range(1, params.n_cells + 1) for name in mixtures]
    _share_out(study_id, params, "cells relaxed", pieces, find_done, work)


def _share_out[P: tuple[str, str | int]](
    study_id: int,
    params: StabilityParams,
    what: str,
    pieces: Sequence[P],
    find_done: Callable[[], set[P]],
    work: Callable[[Potential, list[P]], None],
) -> None:
    """Have the pieces worked on by this run and others; the model is loaded only where something is left."""
    if set(pieces) <= find_done():
        return
    potential = _load_potential(study_id, params)
    progress = ProgressReporter(f"stability-{what.partition(' ')[0]}", what, len(pieces))
    share_out(
        load_settings().resolve_database_url(),
        f"stability:{study_id}",
        pieces,
        find_done,
        partial(work, potential),
        at_once=_count_at_once(potential, params),
        on_progress=progress.update,
    )


def _load_potential(study_id: int, params: StabilityParams) -> Potential:
    settings = load_settings()
    with session_scope(settings.resolve_database_url()) as session:
        model_id = studies.get_model_of_study(session, study_id).id
    model = load_model_file(model_id, settings)
    return load_model(model, device=resolve_device(settings.device), dtype=params.relax.final_dtype)


def _count_at_once(potential: Potential, params: StabilityParams) -> int:
    """Cells that this model relaxes side by side; one where it takes one at a time."""
    return max(1, potential.default_atoms_per_batch() // params.n_atoms)


type _Relaxed[P] = tuple[P, Structure | None, Relaxation | None, str | None]


def _relax[P](
    potential: Potential, makers: Mapping[P, Callable[[], Structure]], params: StabilityParams
) -> Iterator[_Relaxed[P]]:
    """Yield each piece with its start, how it relaxed, and why something is missing; no start where none can be."""
    starts: dict[P, Structure] = {}
    for piece, make in makers.items():
        try:
            starts[piece] = make()
        except InputError as exc:
            yield piece, None, None, str(exc)
    pieces = list(starts)
    for index, relaxation in relax_structures(potential, list(starts.values()), params.relax):
        piece = pieces[index]
        yield piece, starts[piece], relaxation, relaxation.failure


@task(name="write the map", cache_policy=NO_CACHE, **AGAIN)
def write_map(study_id: int, model_id: int, params: StabilityParams) -> str:
    """Sum up every mixture, write the page of all that the study has against these oxides; return where it is."""
    settings = load_settings()
    url = settings.resolve_database_url()
    with session_scope(url) as session:
        cells, oxides = studies.load_cells(session, study_id), studies.load_oxides(session, study_id)
    references = choose_references(params.references, params.cations, oxides, params.prototype)
    competitors = choose_references("ground-states", params.cations, oxides, params.prototype)
    mixtures = [
        summarise_mixture(cations, cells.get(name_mixture(cations), []), params, references, competitors)
        for cations in list_mixtures(params)
    ]
    with session_scope(url) as session:
        studies.set_mixtures(session, study_id, params.references, mixtures)
        rows = studies.list_map(session, study_id, params.references)
        study = studies.describe_study(session, study_id)
    page = render_map(StabilityMap(rows, oxides, references, study, params, datetime.now(UTC), version("heo")))
    name = f"stability-{study_id}-{params.prototype}-{params.references}"
    sha256 = hashlib.sha256(page.encode()).hexdigest()
    path, newest = settings.reports / f"{name}-{sha256[:12]}.html", settings.reports / f"{name}.html"
    copies = [] if params.out is None else [Path(params.out).expanduser() / "stability.html"]
    for file in (path, newest, *copies):
        write_page(page, file)
    if params.out is not None:
        write_summary(Path(params.out).expanduser() / "stability.csv", rows)
    with session_scope(url) as session:
        reports.add_report(session, name, [model_id], [], uri=path.as_uri(), sha256=sha256, answer=summarise_map(rows))
    get_run_logger().info("wrote %s", newest)
    link = settings.resolve_report_link(newest.name)
    create_link_artifact(link, link_text="The map of stability", key="stability-link", description="Map of stability")
    show_table(
        [put_into_words(row) for row in rows], key="stability-map", description="Mixtures; the view stability_map"
    )
    return str(newest)


@flow(
    name="stability", flow_run_name="stability {params.prototype}", timeout_seconds=limit(days=7), description=__doc__
)
def stability(params: StabilityParams = StabilityParams()) -> StabilityResult:
    """Return the study and its page; several runs of the same parameters share the work and end with the same page."""
    admit(params)
    model_id = find_model(params.model)
    study_id = define_study(params, model_id)
    relax_oxides(study_id, params)
    relax_cells(study_id, params)
    page = write_map(study_id, model_id, params)
    return {"study_id": study_id, "page": page}
