"""`heo label ...`: reference labels by DFT or a potential; inputs for VASP, and its finished runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deploy.cli.database import in_session
from deploy.cli.run import PANEL, Json, Set, build_params, run_app, run_flow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

label_app = typer.Typer()

Files = Annotated[
    list[Path] | None,
    typer.Option("--files", help="Structure file: CIF, POSCAR, extxyz, an ASE database, ... May be repeated."),
]
Dataset = Annotated[str | None, typer.Option(help="NAME or NAME@VERSION of a dataset, or of generated cells.")]
Split = Annotated[str | None, typer.Option(help="Split of the dataset.", show_default="all of it")]
Benchmark = Annotated[str | None, typer.Option(help="Benchmark, for its start structures.")]
RelaxedBy = Annotated[
    list[str] | None,
    typer.Option(help="Model whose final geometries on the benchmark are meant instead. May be repeated."),
]


def register(app: typer.Typer) -> None:
    """Add these commands to the `heo` command, the flow also as `heo run label`."""
    run_app.command("label")(label)
    label_app.callback(invoke_without_command=True)(label)
    app.add_typer(label_app, name="label", rich_help_panel=PANEL)


def label(
    ctx: typer.Context,
    files: Files = None,
    dataset: Dataset = None,
    split: Split = None,
    benchmark: Benchmark = None,
    relaxed_by: RelaxedBy = None,
    name: Annotated[str | None, typer.Option(help="Name of the label set.", show_default="dft")] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="gpaw ('make setup-dft'), or a model, for example chgnet:0.3.0.", show_default="gpaw"),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Of gpaw: quick (400 eV, 2x2x2 k-points), standard (520 eV, 3x3x3) or stress (700 eV, 3x3x3).",
            show_default="standard",
        ),
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Seconds after which gpaw gives a structure up.", show_default="7200")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Label again what failed before.")] = False,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Label structures with energies, forces and moments; killed, it goes on where it stopped. What fails is a row."""
    if ctx.invoked_subcommand is not None:
        return
    from heo_core.params import LabelParams

    params = build_params(
        LabelParams,
        set_,
        **_gather(files, dataset, split, benchmark, relaxed_by),
        name=name,
        engine=engine,
        gpaw=None if preset is None else {"preset": preset},
        max_seconds=max_seconds,
        retry_failed=retry_failed,
    )

    def work() -> dict[str, Any]:
        from db import labels
        from flows.label import label_structures as flow

        flow(params)
        return in_session(lambda session: labels.summarise(session, params.name))

    run_flow(work, as_json=as_json)


@label_app.command("list")
def list_labels(as_json: Json = False) -> None:
    """Show all label sets, newest first."""
    from db import labels
    from deploy.cli.tables import print_rows

    print_rows(in_session(labels.list_label_sets), "no labels yet: run 'heo label'", as_json=as_json)


@label_app.command("show")
def show_labels(name: Annotated[str, typer.Argument(help="NAME of a label set.")], as_json: Json = False) -> None:
    """Show a label set: its scale, and every structure, also while it is being labelled."""
    from db import labels
    from deploy.cli.tables import print_result

    print_result(in_session(lambda session: labels.summarise(session, name)), as_json=as_json)


@label_app.command("export")
def export_labels(
    out: Annotated[Path, typer.Option(help="File to write; with --engine vasp, a folder.")],
    name: Annotated[str | None, typer.Argument(help="NAME of a label set.")] = None,
    file_format: Annotated[
        Literal["extxyz", "parquet", "ase-db"], typer.Option("--format", help="Of the label set's file.")
    ] = "extxyz",
    engine: Annotated[
        Literal["vasp"] | None, typer.Option(help="Write inputs for it, of structures that wait for labels.")
    ] = None,
    files: Files = None,
    dataset: Dataset = None,
    split: Split = None,
    benchmark: Benchmark = None,
    relaxed_by: RelaxedBy = None,
    as_json: Json = False,
) -> None:
    """Write a label set to a file that 'heo curate --source' reads; or with --engine vasp, inputs for VASP."""
    from deploy.cli.tables import print_result
    from heo_core.errors import InputError

    given = _gather(files, dataset, split, benchmark, relaxed_by)
    if (engine is None) != (name is not None) or (engine is None and any(given.values())):
        raise InputError("heo label export takes either NAME, or --engine vasp with --files, --dataset or --benchmark")
    path = out.expanduser()
    if name is None:
        from flows.label import gather_structures
        from flows.settings import load_settings
        from heo_core.labelling.vasp import write_inputs
        from heo_core.params import LabelParams

        wanted, failures = gather_structures(build_params(LabelParams, None, **given), load_settings())
        folders = write_inputs([one.structure for one in wanted], path)
        result = {"structures": len(folders), "path": str(path.resolve()), "left out": failures}
        print_result(result, as_json=as_json)
        return

    def export(session: Session) -> dict[str, Any]:
        from db import labels
        from heo_core.curation.export import export_structures

        labelled = ((structure, "labelled") for structure in labels.load_labelled(session, name))
        return {"structures": export_structures(labelled, path, file_format), "path": str(path.resolve())}

    print_result(in_session(export), as_json=as_json)


@label_app.command("import")
def import_runs(
    folder: Annotated[Path, typer.Argument(help="Folder of finished VASP runs, each with its vasprun.xml.")],
    name: Annotated[str, typer.Option(help="Name of the label set.")],
    as_json: Json = False,
) -> None:
    """Store finished VASP runs as a label set; a run that did not converge is a row that says so."""
    from db import labels
    from deploy.cli.tables import print_result
    from heo_core.errors import InputError
    from heo_core.labelling.vasp import FUNCTIONAL, read_runs
    from heo_core.params import NAME_PATTERN

    if not re.fullmatch(NAME_PATTERN, name):
        raise InputError(f"a label set cannot be called {name!r}: letters, digits, '.', '_' and '-'")
    runs, settings, left_out = read_runs(folder.expanduser())
    for file, reason in left_out.items():
        typer.echo(f"left out: {file}: {reason}", err=True)

    def store(session: Session) -> dict[str, Any]:
        label_set = labels.open_label_set(session, name, engine="vasp", functional=FUNCTIONAL, settings=settings)
        for run in runs:
            labels.add_label(session, label_set, run.structure, run.label)
        return labels.summarise(session, name)

    print_result(in_session(store), as_json=as_json)


def _gather(
    files: list[Path] | None,
    dataset: str | None,
    split: str | None,
    benchmark: str | None,
    relaxed_by: list[str] | None,
) -> dict[str, Any]:
    """Options that say which structures are meant, as parameters."""
    return {
        "files": [str(file.expanduser().resolve()) for file in files] if files else None,
        "dataset": dataset,
        "split": split,
        "benchmark": benchmark,
        "relaxed_by": relaxed_by or None,
    }
