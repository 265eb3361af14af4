"""`heo dataset ...`: look at the datasets in the database, and write one to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deploy.cli.database import in_session

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

PANEL = "Data"

dataset_app = typer.Typer(help="Curated datasets.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the `heo` command."""
    app.add_typer(dataset_app, name="dataset", rich_help_panel=PANEL)


@dataset_app.command("list")
def list_datasets(as_json: Json = False) -> None:
    """Show all datasets, newest first."""
    from db import datasets
    from deploy.cli.tables import print_rows

    print_rows(in_session(datasets.list_datasets), "no dataset yet: run 'heo curate'", as_json=as_json)


@dataset_app.command("show")
def show_dataset(
    name: Annotated[str, typer.Argument(help="NAME (its newest version) or NAME@VERSION.")],
    as_json: Json = False,
) -> None:
    """Show a dataset: source, counts, splits, and the rows that each rule left out."""
    from db import datasets
    from deploy.cli.tables import print_result

    print_result(
        in_session(lambda session: datasets.summarise(session, datasets.get_dataset(session, name).id)), as_json=as_json
    )


@dataset_app.command("export")
def export_dataset(
    name: Annotated[str, typer.Argument(help="NAME (its newest version) or NAME@VERSION.")],
    file_format: Annotated[
        Literal["extxyz", "parquet", "ase-db"],
        typer.Option("--format", help="extxyz with MACE's keys, parquet as LeMat-Bulk has it, or an ASE database."),
    ] = "extxyz",
    split: Annotated[
        Literal["train", "validation", "test", "off_equilibrium", "generated", "all"],
        typer.Option(help="Which structures."),
    ] = "all",
    out: Annotated[
        Path | None, typer.Option(help="File or folder to write to.", show_default="NAME-SPLIT.<ending>, here")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the structures of a dataset to a file, with their labels, ids and splits."""
    from db import datasets
    from deploy.cli.tables import print_result
    from heo_core.curation.export import ENDINGS, export_structures
    from heo_core.errors import InputError

    path = Path() if out is None else out.expanduser()
    if path.is_dir():
        path /= f"{name}-{split}{ENDINGS[file_format]}"

    def export(session: Session) -> dict[str, Any]:
        dataset = datasets.get_dataset(session, name)
        there = [row["split"] for row in datasets.count_splits(session, dataset.id) if row["n_structures"]]
        if not there:
            raise InputError(f"{name} is empty: 'heo dataset show {name}' says which rules left its rows out")
        if split not in {"all", *there}:
            raise InputError(f"{name} has no structures in {split}; allowed: all, {', '.join(there)}")
        structures = datasets.iter_split(session, dataset.id, None if split == "all" else split)
        return {"structures": export_structures(structures, path, file_format), "path": str(path.resolve())}

    print_result(in_session(export), as_json=as_json)
