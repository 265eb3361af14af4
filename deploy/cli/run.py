"""`heo run FLOW`: run a flow in this process; `heo curate` is short for `heo run curate`, and so on."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import typer

from deploy.cli.database import in_session
from deploy.cli.models import print_model
from deploy.cli.tables import print_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from heo_core.params import Params

PANEL = "Work"

run_app = typer.Typer(help="Run a flow in this process, without a worker.", no_args_is_help=True)
sweep_app = typer.Typer()

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on standard output.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Any other parameter, for example --set rules.min_elements=6. May be repeated.",
    ),
]

Runner = Annotated[
    str | None,
    typer.Option(
        help="local (this process), dask (processes of one thread each) or dask-jobqueue (SLURM jobs).",
        show_default="local",
    ),
]
Workers = Annotated[
    int | None, typer.Option(help="How many processes or jobs of Dask's.", show_default="one for each core")
]


def register(app: typer.Typer) -> None:
    """Add these commands to the `heo` command, each also by itself."""
    for command in (curate, finetune, sweep, evaluate, report, pipeline):
        run_app.command()(command)
        if command is not sweep:  # it has commands of its own
            app.command(rich_help_panel=PANEL)(command)
    sweep_app.callback(invoke_without_command=True)(sweep)
    app.add_typer(sweep_app, name="sweep", rich_help_panel=PANEL)
    app.add_typer(run_app, name="run", rich_help_panel=PANEL)


def curate(
    source: Annotated[
        str | None,
        typer.Option(
            help="sample, hub (LeMat-Bulk), or a file or folder: parquet in LeMat-Bulk's schema, extxyz, an ASE "
            "database, vasprun.xml, OUTCAR.",
            show_default="sample",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the dataset.", show_default="sample")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Rules to start from: origin (at least five elements), heo (at least five cations and 1.5 R of "
            "entropy), quickstart (origin in small cells). Change any of them with --set rules.FIELD=VALUE.",
            show_default="origin",
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Commit of the Hub dataset.", show_default="the newest, which is stored")
    ] = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Make a dataset: read structures, keep the high-entropy oxides, split them."""
    from heo_core.params import CurationParams

    rules = None if preset is None else {"preset": preset}
    params = build_params(CurationParams, set_, source=source, name=name, hub_revision=revision, rules=rules)

    def work() -> dict[str, Any]:
        from db import datasets
        from flows.curate import curate as flow

        dataset_id = flow(params)
        return in_session(lambda session: datasets.summarise(session, dataset_id))

    run_flow(work, as_json=as_json)


def finetune(
    dataset: Annotated[
        str | None, typer.Option(help="NAME or NAME@VERSION of a dataset.", show_default="sample")
    ] = None,
    foundation: Annotated[
        str | None,
        typer.Option(
            help="heo-mini, mace-mp:small|medium|large, file:PATH, or a registered model.", show_default="heo-mini"
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="replay (off-equilibrium cells keep the stiffness), naive (the origin's), freeze, lora, or scratch (a "
            "new small model); docs/finetuning.md compares them.",
            show_default="replay",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the new model.", show_default="FOUNDATION-DATASET")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training split, at most.", show_default="the strategy's")
    ] = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Finetune a MACE foundation model on a dataset; killed, it goes on from its last finished epoch."""
    from heo_core.params import FinetuneParams

    params = build_params(
        FinetuneParams,
        set_,
        dataset=dataset,
        foundation=foundation,
        strategy=strategy,
        name=name,
        max_num_epochs=epochs,
    )

    def work() -> dict[str, Any]:
        from db import models
        from flows.finetune import finetune as flow

        model_version_id = flow(params)
        return in_session(lambda session: models.summarise(session, model_version_id))

    run_flow(work, as_json=as_json, show=print_model)


def sweep(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Option(help="Name of the sweep; its models are NAME-t00, NAME-t01, ...", show_default="sweep")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="NAME or NAME@VERSION of a dataset.", show_default="sample")
    ] = None,
    foundation: Annotated[
        str | None, typer.Option(help="Model to start from, as for finetune.", show_default="heo-mini")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training split.")] = None,
    sampler: Annotated[str | None, typer.Option(help="grid, random or tpe.", show_default="random")] = None,
    trials: Annotated[
        int | None, typer.Option(help="How many trainings.", show_default="the whole grid, or 10")
    ] = None,
    parallel: Annotated[
        int | None, typer.Option(help="Trainings given to the work pool at once.", show_default="2")
    ] = None,
    here: Annotated[bool, typer.Option("--here", help="Train one after another in this process.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="What is searched, for example --set space.lr='[1e-3,2e-3]' or --set space.forces_weight="
            """'{"low":1,"high":100,"log":true}', and any other parameter, for example --set base.batch_size=8. """
            "May be repeated.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Search parameters of a finetuning: train each trial, rank them by validation score."""
    if ctx.invoked_subcommand is not None:
        return
    from heo_core.errors import InputError
    from heo_core.params import SweepParams
    from heo_core.search_space import HELP

    if not any(word.startswith("space") for word in set_ or []):
        raise InputError(f"nothing is searched: give --set space.FIELD=VALUES, where VALUES is {HELP}")
    given = {"dataset": dataset, "foundation": foundation, "max_num_epochs": epochs}
    params = build_params(
        SweepParams,
        set_,
        name=name,
        base={field: value for field, value in given.items() if value is not None} or None,
        sampler=sampler,
        n_trials=trials,
        n_parallel=parallel,
        runner="here" if here else None,
    )

    def work() -> dict[str, Any]:
        from db import sweeps
        from flows.sweep import sweep as flow

        sweep_id = flow(params)
        return in_session(lambda session: sweeps.summarise(session, sweep_id))

    run_flow(work, as_json=as_json, workers=params.runner == "pool")


@sweep_app.command("show")
def show_sweep(
    name: Annotated[str, typer.Argument(help="NAME (its newest version) or NAME@VERSION.")],
    as_json: Json = False,
) -> None:
    """Show a sweep: its trials, the best first, also while it runs."""
    from db import sweeps
    from deploy.cli.tables import print_result

    print_result(
        in_session(lambda session: sweeps.summarise(session, sweeps.get_sweep(session, name).id)), as_json=as_json
    )


@sweep_app.command("list")
def list_sweeps(as_json: Json = False) -> None:
    """Show all sweeps, newest first."""
    from db import sweeps
    from deploy.cli.tables import print_rows

    print_rows(in_session(sweeps.list_sweeps), "no sweep yet: run 'heo sweep'", as_json=as_json)


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="Model to evaluate, the one to compare with first.",
            show_default="the newest finetuned one and its parent",
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Dataset to test on.", show_default="the one the model was trained on")
    ] = None,
    benchmarks: Annotated[
        list[str] | None,
        typer.Option(
            "--benchmark",
            help="energy-forces, off-equilibrium, rattle-relax, substitution-relax, physics, forgetting-holdout, "
            "equation-of-state, dft-offeq (cells labelled by DFT), or NAME or NAME@VERSION of one that is stored ('heo "
            "benchmark list'). May be repeated.",
            show_default="the first four",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Run again what is done; the old numbers stay until the new ones are complete."),
    ] = False,
    runner: Runner = None,
    workers: Workers = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Evaluate models on benchmarks and compare each with the first."""
    from heo_core.params import BENCHMARK_KINDS, EvaluationParams

    params = build_params(
        EvaluationParams,
        set_,
        models=models or None,
        dataset=dataset,
        benchmarks=[name for name in benchmarks if name in BENCHMARK_KINDS] if benchmarks else None,
        stored_benchmarks=[name for name in benchmarks or [] if name not in BENCHMARK_KINDS],
        force=force,
        scale=build_scale(runner, workers),
    )

    def work() -> dict[str, Any]:
        from db import evaluations
        from flows.evaluate import evaluate as flow

        evaluation_ids = flow(params)
        return in_session(lambda session: evaluations.summarise(session, evaluation_ids))

    run_flow(work, as_json=as_json)


def report(
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="Model to show, the one to compare with first.",
            show_default="the newest finetuned one and its parent",
        ),
    ] = None,
    benchmarks: Annotated[
        list[str] | None,
        typer.Option("--benchmark", help="Stored benchmark to show. May be repeated.", show_default="all"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the page.", show_default="report")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for a copy of the page.")] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for a picture of each figure; it takes a Chrome or Chromium.")
    ] = None,
    image_format: Annotated[
        str | None, typer.Option("--format", help="Format of the pictures: svg, png or pdf.", show_default="svg")
    ] = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Write the page that compares models, and a picture of each of its figures where they are asked for."""
    from heo_core.params import ReportParams

    params = build_params(
        ReportParams,
        set_,
        models=models or None,
        benchmarks=benchmarks or None,
        name=name,
        out=None if out is None else str(out.expanduser().resolve()),
        figures=None if figures is None else str(figures.expanduser().resolve()),
        figure_format=image_format,
    )

    def work() -> dict[str, Any]:
        from db import reports
        from flows.report import report as flow

        report_id = flow(params)
        return in_session(lambda session: reports.summarise(session, report_id))

    run_flow(work, as_json=as_json)


def pipeline(
    source: Annotated[str | None, typer.Option(help="As for curate.", show_default="sample")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the dataset.", show_default="sample")] = None,
    foundation: Annotated[str | None, typer.Option(help="As for finetune.", show_default="heo-mini")] = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Curate, finetune, evaluate and report; --set reaches curation, finetuning, evaluation and reporting."""
    from heo_core.params import PipelineParams

    curation = {key: value for key, value in (("source", source), ("name", name)) if value is not None}
    finetuning = None if foundation is None else {"foundation": foundation}
    params = build_params(PipelineParams, set_, curation=curation or None, finetuning=finetuning)

    def work() -> dict[str, Any]:
        from db import reports
        from flows.pipeline import heo_pipeline as flow

        report_id = flow(params.curation, params.finetuning, params.evaluation, params.reporting)
        return in_session(lambda session: reports.summarise(session, report_id))

    run_flow(work, as_json=as_json)


def build_scale(runner: str | None, workers: int | None) -> dict[str, Any] | None:
    """Make the group of parameters that --runner and --workers fill."""
    given = {"runner": runner, "n_workers": workers}
    return {name: value for name, value in given.items() if value is not None} or None


def build_params[P: Params](kind: type[P], overrides: list[str] | None, **fields: Any) -> P:
    """Make parameters of options (None: the default) and of FIELD=VALUE words; a value is JSON, plain text or a list.

    Raises InputError for a word that is no FIELD=VALUE; pydantic's ValidationError names field and value for all else.
    """
    from heo_core.errors import InputError

    values = {name: value for name, value in fields.items() if value is not None}
    for word in overrides or []:
        path, separator, text = word.partition("=")
        if not separator or not path:
            raise InputError(f"--set {word!r}: it takes FIELD=VALUE, for example --set split.seed=1")
        *parents, last = path.split(".")
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise InputError(f"--set {word!r}: {parent} was set to a value already")
        place[last] = _parse(text, _find_type(kind, path))
    return kind.model_validate(values)


def _parse(text: str, wanted: Any) -> Any:
    """Read JSON, else plain text; where a list is wanted, also as people write it: Mg,Ni and 4x2x2."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    takes_list = any(get_origin(kind) is tuple for kind in (wanted, *get_args(wanted)))
    if not takes_list or text.startswith(("[", "{")):
        return text
    return re.split("x" if re.fullmatch(r"\d+(x\d+)+", text) else ",", text)


def _find_type(kind: Any, path: str) -> Any:
    """Return what the field of a dotted path takes; None where the path leads into no field of parameters."""
    for name in path.split("."):
        field = getattr(kind, "model_fields", {}).get(name)
        kind = None if field is None else field.annotation
    return kind


def run_flow(
    work: Callable[[], dict[str, Any]],
    *,
    as_json: bool,
    show: Callable[..., None] = print_result,
    workers: bool = False,
) -> None:
    """Start what a flow needs, run it here with short log lines on stderr, print its result."""
    from deploy.cli.output import make_console, progress
    from deploy.services import ensure_services
    from flows.settings import TAG, load_settings

    # Threads that spin while they wait make a busy machine several times slower; read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with progress(make_console(stderr=True)) as say:
        ensure_services(load_settings(), workers=workers, say=say)
    from prefect import tags

    from deploy.cli.flow_log import shorten_log

    shorten_log()
    with tags(TAG):
        result = work()
    show(result, as_json=as_json)
