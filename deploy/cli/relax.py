"""`heo relax`: structures of files, or of a composition on a prototype, relaxed with one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from deploy.cli.database import in_session
from deploy.cli.run import PANEL, Json, Runner, Set, Workers, build_params, build_scale, run_app, run_flow

# What a terminal has room for; summary.csv and --json have all.
_SHOWN = (
    "structure",
    "converged",
    "force_calls",
    "energy_ev_per_atom",
    "fmax_ev_per_ang",
    "volume_change_fraction",
    "displacement_rmsd_ang",
    "failure",
)


def register(app: typer.Typer) -> None:
    """Add this command to the `heo` command, also as `heo run relax`."""
    run_app.command("relax")(relax)
    app.command("relax", rich_help_panel=PANEL)(relax)


def relax(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Structure files: CIF, POSCAR, extxyz, ASE databases, ...")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model: a foundation, or a registered one.", show_default="heo-mini")
    ] = None,
    composition: Annotated[
        str | None, typer.Option(help="In place of files: cells of this composition, such as Mg0.2Ni0.8O.")
    ] = None,
    prototype: Annotated[
        str | None, typer.Option(help="Parent crystal of the composition.", show_default="rocksalt")
    ] = None,
    n: Annotated[int | None, typer.Option("--n", help="How many cells of it.", show_default="10")] = None,
    rattle: Annotated[
        float | None, typer.Option(help="How far their atoms are displaced before, Å.", show_default="0.1")
    ] = None,
    fmax: Annotated[
        float | None, typer.Option(help="Largest force on any atom and on the cell, eV/Å.", show_default="0.05")
    ] = None,
    max_force_calls: Annotated[
        int | None, typer.Option(help="Force calls after which a structure is given up.", show_default="200")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="lbfgs, bfgs or fire.", show_default="lbfgs")] = None,
    cell_filter: Annotated[
        str | None,
        typer.Option(
            "--cell", help="frechet (relax the cell), hydrostatic (its volume alone) or none.", show_default="frechet"
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for relaxed structures and summary.csv.")] = None,
    file_format: Annotated[
        Literal["extxyz", "cif", "poscar"], typer.Option("--format", help="Of the relaxed structures.")
    ] = "extxyz",
    trajectory: Annotated[bool, typer.Option("--trajectory", help="Write every state of each relaxation too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Relax again what is done.")] = False,
    runner: Runner = None,
    workers: Workers = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Relax structures, many at a time; killed, it goes on where it stopped. What fails is a row that says why.

    The exit code is 0 also where structures failed: summary.csv and --json say which.
    """
    from heo_core.errors import InputError
    from heo_core.params import RelaxJobParams

    if bool(files) == (composition is not None):
        raise InputError("heo relax takes either FILES or --composition")
    generation = {"composition": composition, "prototype": prototype, "n": n}
    asked = {name: value for name, value in generation.items() if value is not None}
    if files and (asked or rattle is not None):
        raise InputError(
            f"{', '.join(asked) or 'rattle'} goes with --composition; structures of files stay as they are"
        )
    relaxing = {
        "fmax": fmax,
        "max_force_calls": max_force_calls,
        "optimizer": optimizer,
        "cell_filter": cell_filter,
        "trajectory": trajectory or None,
    }
    params = build_params(
        RelaxJobParams,
        set_,
        files=[str(file.expanduser().resolve()) for file in files] if files else None,
        generation=asked | {"rattle_ang": 0.1 if rattle is None else rattle} if asked else None,
        model=model,
        relax={"dtype": "mixed"} | {name: value for name, value in relaxing.items() if value is not None},
        out=None if out is None else str(out.expanduser().resolve()),
        file_format=file_format,
        force=force,
        scale=build_scale(runner, workers),
    )

    def work() -> dict[str, Any]:
        from db import evaluations
        from flows.relax import relax as flow

        result = flow(params)
        cautions = in_session(lambda session: evaluations.list_cautions(session, [result["evaluation_id"]]))
        rows = result["rows"] if as_json else [{key: row[key] for key in _SHOWN} for row in result["rows"]]
        caution = {"caution": cautions} if cautions else {}
        summary = caution | {"converged": f"{sum(row['converged'] for row in rows)} of {len(rows)}", "structures": rows}
        return summary if result["out"] is None else {"written_to": result["out"], **summary}

    run_flow(work, as_json=as_json)
