"""`heo structures ...`: make cells of a composition on a parent crystal, and find structures in the database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from deploy.cli.database import in_session
from deploy.cli.run import Json, Set, build_params, run_flow

PANEL = "Data"

structures_app = typer.Typer(
    help="Cells of a composition on a parent crystal; structures in the database.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add these commands to the `heo` command."""
    app.add_typer(structures_app, name="structures", rich_help_panel=PANEL)


@structures_app.command("generate")
def generate_structures(
    composition: Annotated[
        str | None,
        typer.Option(
            help="A formula, cations of each sublattice in parentheses where that is not plain: "
            '"(La0.5Sr0.5)(Mn0.5Co0.5)O3"; or JSON: \'{"A": "La0.5Sr0.5", "B": {"Mn": 0.5, "Co": 0.5}}\'.',
            show_default="Mg0.2Ni0.2Cu0.2Co0.2Zn0.2O",
        ),
    ] = None,
    prototype: Annotated[
        str | None, typer.Option(help="Parent crystal: see 'heo structures prototypes'.", show_default="rocksalt")
    ] = None,
    parent: Annotated[
        Path | None, typer.Option(help="Structure file as parent crystal, in place of a prototype; needs --site.")
    ] = None,
    site: Annotated[
        str | None,
        typer.Option(
            help="Element of the parent file whose sites the composition fills: --site Mn --composition MnCo."
        ),
    ] = None,
    n: Annotated[int | None, typer.Option("--n", help="How many cells.", show_default="10")] = None,
    supercell: Annotated[
        str | None, typer.Option(help="4x2x2, or a matrix: '[[0,2,2],[2,0,2],[2,2,0]]'.", show_default="near-cubic")
    ] = None,
    min_atoms: Annotated[
        int | None, typer.Option(help="Smallest number of atoms, without --supercell.", show_default="64")
    ] = None,
    filling: Annotated[
        str | None,
        typer.Option(
            help="exact (whole numbers, shuffled), iid (each site by itself), or sqs (quasirandom; needs the extra "
            "heo[sqs]).",
            show_default="exact",
        ),
    ] = None,
    vacancies: Annotated[float | None, typer.Option(help="Fraction of the oxygens to take out.")] = None,
    rattle: Annotated[float | None, typer.Option(help="Standard deviation of displacements, Å.")] = None,
    strain: Annotated[float | None, typer.Option(help="Largest component of a random strain.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed.", show_default="0")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the set.", show_default="generated")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Also write the cells: into one FILE.extxyz, or into a folder, a file each.")
    ] = None,
    file_format: Annotated[
        Literal["extxyz", "cif", "poscar"], typer.Option("--format", help="Of the files in a folder.")
    ] = "cif",
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Make cells, check them, and store them with their recipes as a dataset without labels."""
    from heo_core.errors import InputError
    from heo_core.params import GenerationParams

    if (parent is None) != (site is None):
        raise InputError("--parent FILE and --site ELEMENT go together: whose sites does the composition fill?")
    params = build_params(
        GenerationParams,
        set_,
        composition=composition if site is None else {site: composition or ""},
        prototype=prototype,
        parent=None if parent is None else str(parent.expanduser().resolve()),
        n=n,
        supercell=supercell,
        min_atoms=min_atoms,
        filling=filling,
        vacancies=vacancies,
        rattle_ang=rattle,
        strain=strain,
        seed=seed,
        name=name,
    )

    def work() -> dict[str, Any]:
        from db import datasets, generated
        from flows.structures import generate_structures as flow

        dataset_id = flow(params)
        result = in_session(lambda session: datasets.summarise(session, dataset_id))
        result |= in_session(lambda session: {"cells": generated.list_cells(session, dataset_id, limit=10)})
        if out is not None:
            from heo_core.structures.files import write_cells

            path = out.expanduser()
            cells = in_session(lambda session: generated.load_cells(session, dataset_id))
            result |= {"written": write_cells(cells, path, file_format), "path": str(path.resolve())}
        return {key: value for key, value in result.items() if value not in (None, [])}

    run_flow(work, as_json=as_json)


@structures_app.command("find")
def find_structures(
    contains: Annotated[str | None, typer.Option(help="Elements that it all holds: Mg,Co.")] = None,
    only: Annotated[str | None, typer.Option(help="Elements beside which it holds none: Mg,Co,Ni,O.")] = None,
    any_of: Annotated[str | None, typer.Option("--any", help="Elements of which it holds one at least: La,Ce.")] = None,
    formula: Annotated[str | None, typer.Option(help="Formula, in any multiple and order: MgCoO2.")] = None,
    chemical_system: Annotated[str | None, typer.Option(help="Exactly these elements: Co-Mg-O.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="A range: 'energy_ev_per_atom < -6', 'n_atoms <= 40'. May be repeated. The properties: docs/sql.md."
        ),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="NAME (its newest version) or NAME@VERSION.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most, the oldest first.")] = 100,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Json = False,
) -> None:
    """Find structures in the database for which all that is asked holds."""
    from db import search
    from deploy.cli.tables import print_csv, print_rows
    from heo_core.errors import InputError

    if as_csv and as_json:
        raise InputError("--csv and --json exclude each other: give one of them")
    rows = in_session(
        lambda session: search.find_structures(
            session,
            contains=_split(contains),
            only=_split(only),
            any_of=_split(any_of),
            formula=formula,
            chemical_system=chemical_system,
            ranges=where or (),
            dataset=dataset,
            limit=limit,
        )
    )
    if as_csv:
        print_csv(rows)
    else:
        print_rows(rows, "no such structure", as_json=as_json)


def _split(elements: str | None) -> list[str]:
    return [] if elements is None else [symbol.strip() for symbol in elements.split(",")]


@structures_app.command("prototypes")
def list_prototypes(as_json: Json = False) -> None:
    """Show the parent crystals there are, and the sublattices of each."""
    from deploy.cli.tables import print_rows
    from heo_core.structures.prototypes import PROTOTYPES, get_prototype

    rows = []
    for prototype in map(get_prototype, PROTOTYPES):
        sublattices = [f"{part.name} {part.coordination}-fold" for part in prototype.sublattices]
        rows.append(
            {
                "prototype": prototype.name,
                "formula": prototype.formula,
                "like": prototype.like,
                "space_group": prototype.space_group_number,
                "n_atoms": prototype.n_atoms,
                "sublattices": sublattices,
            }
        )
    print_rows(rows, "", as_json=as_json)
