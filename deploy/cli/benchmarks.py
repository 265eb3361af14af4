"""`heo benchmark ...`: look at the benchmarks in the database, and add one of your own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deploy.cli.database import in_session
from deploy.cli.run import Json, Set, build_params, run_flow

if TYPE_CHECKING:
    from heo_core.params import BenchmarkParams

PANEL = "Data"

benchmark_app = typer.Typer(help="What models are measured on.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these commands to the `heo` command."""
    app.add_typer(benchmark_app, name="benchmark", rich_help_panel=PANEL)


@benchmark_app.command("auto")
def mark_auto(
    name: Annotated[str, typer.Argument(help="NAME of a benchmark; the mark is for all its versions.")],
    auto: Annotated[Literal["on", "off"], typer.Argument(metavar="on|off")],
    as_json: Json = False,
) -> None:
    """Let a benchmark run by itself for every model that is finetuned or added here, or promoted; or no longer."""
    from db import pending
    from db.versions import label
    from deploy.cli.tables import print_result
    from deploy.services import point_prefect
    from flows.events import emit_benchmark_auto
    from flows.settings import load_settings

    benchmark = in_session(lambda session: pending.mark_auto(session, name, auto=auto == "on"))
    if benchmark.auto:
        settings = load_settings()
        point_prefect(settings)
        emit_benchmark_auto(benchmark.id, settings)
    waiting = in_session(lambda session: pending.list_waiting_models(session, benchmark.id))
    print_result({"benchmark": label(benchmark), "auto": auto, "models due": waiting}, as_json=as_json)


@benchmark_app.command("list")
def list_benchmarks(as_json: Json = False) -> None:
    """Show all benchmarks, newest first."""
    from db import evaluations
    from deploy.cli.tables import print_rows

    nothing = "no benchmark yet: 'heo evaluate' stores those it runs, 'heo benchmark add' one of your own"
    print_rows(in_session(evaluations.list_benchmarks), nothing, as_json=as_json)


@benchmark_app.command("show")
def show_benchmark(
    name: Annotated[str, typer.Argument(help="NAME (its newest version) or NAME@VERSION.")],
    as_json: Json = False,
) -> None:
    """Show what a benchmark measures, with what parameters, and which models it has measured."""
    from db import evaluations
    from deploy.cli.tables import print_result

    print_result(in_session(lambda session: evaluations.summarise_benchmark(session, name)), as_json=as_json)


@benchmark_app.command("add")
def add_benchmark(
    name: Annotated[str, typer.Argument(help="What to call it; the same name with other content is a new version.")],
    kind: Annotated[
        str,
        typer.Option(
            help="What is measured: energy-forces, off-equilibrium or rattle-relax on a dataset or files; "
            "substitution-relax, physics, forgetting-holdout or equation-of-state with parameters of your own."
        ),
    ],
    dataset: Annotated[
        str | None, typer.Option(help="NAME or NAME@VERSION of a dataset to take structures of.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Its split.", show_default="test")] = None,
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--files",
            help="File or folder of structures with energies and forces: extxyz, an ASE database, vasprun.xml, OUTCAR, "
            "parquet. May be repeated.",
        ),
    ] = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Add a benchmark of your own; then run it: heo evaluate --benchmark NAME."""
    params = _build_benchmark(kind, split, set_)

    def work() -> dict[str, Any]:
        from db import evaluations
        from flows.benchmarks import add_own_benchmark

        added = add_own_benchmark(name, params, dataset=dataset, files=files or ())
        return in_session(lambda session: evaluations.summarise_benchmark(session, added))

    run_flow(work, as_json=as_json)


def _build_benchmark(kind: str, split: str | None, overrides: list[str] | None) -> BenchmarkParams:
    from heo_core.errors import InputError
    from heo_core.params import BENCHMARK_KINDS, EvaluationParams

    if kind not in BENCHMARK_KINDS:
        raise InputError(f"--kind is {kind!r}; allowed: {', '.join(BENCHMARK_KINDS)}")
    fields: dict[str, Any] = {} if split is None else {"split": split}
    return build_params(type(EvaluationParams().get_benchmark(kind)), overrides, **fields)
