"""`heo stability`: which mixtures of cations are likely to form; the map of them, cells relaxed by one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.cli.database import in_session
from deploy.cli.run import PANEL, Json, Set, build_params, run_app, run_flow

# What a terminal has room for; stability.csv and --json have all.
_SHOWN = (
    "composition",
    "mixing_enthalpy_ev_per_atom",
    "mixing_enthalpy_sem_ev_per_atom",
    "bond_spread_ang",
    "radius_mismatch_percent",
    "mixing_temperature_k",
    "decomposition_energy_ev_per_atom",
    "n_converged",
    "failure",
)


def register(app: typer.Typer) -> None:
    """Add this command to the `heo` command, also as `heo run stability`."""
    run_app.command("stability")(stability)
    app.command("stability", rich_help_panel=PANEL)(stability)


def stability(
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[CATIONS]...", help="The same as --cations.", show_default=False)
    ] = None,
    cations: Annotated[
        list[str] | None,
        typer.Option(help="Cations that are mixed: --cations Mg Co Ni Cu Zn.", show_default="Mg Co Ni Cu Zn"),
    ] = None,
    n: Annotated[
        int | None, typer.Option("--n", help="Cations in each mixture; all combinations are taken.", show_default="5")
    ] = None,
    prototype: Annotated[
        str | None, typer.Option(help="Parent crystal: rocksalt, fluorite or perovskite.", show_default="rocksalt")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model: a foundation, or a registered one.", show_default="chgnet:0.3.0")
    ] = None,
    references: Annotated[
        str | None,
        typer.Option(
            help="Oxides that enthalpies count from: ground-states, end-members, or almishal-2025 (published).",
            show_default="ground-states",
        ),
    ] = None,
    cells: Annotated[int | None, typer.Option(help="Cells of each mixture.", show_default="3")] = None,
    atoms: Annotated[int | None, typer.Option(help="Largest number of atoms of a cell.", show_default="64")] = None,
    filling: Annotated[
        str | None, typer.Option(help="exact (shuffled), or sqs (quasirandom; heo[sqs]).", show_default="exact")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed.", show_default="0")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the page and stability.csv.")] = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Map mixtures of cations by enthalpy of mixing and spread of bonds; killed, it goes on where it stopped."""
    from heo_core.params import StabilityParams

    # An option takes one word: those that follow it are arguments.
    symbols = [symbol for words in [*(cations or []), *(more or [])] for symbol in words.replace(",", " ").split()]
    params = build_params(
        StabilityParams,
        set_,
        cations=symbols or None,
        n=n,
        prototype=prototype,
        model=model,
        references=references,
        n_cells=cells,
        n_atoms=atoms,
        filling=filling,
        seed=seed,
        out=None if out is None else str(out.expanduser().resolve()),
    )

    def work() -> dict[str, Any]:
        from db import stability as studies
        from flows.stability import stability as flow

        result = flow(params)
        rows = in_session(lambda session: studies.list_map(session, result["study_id"], params.references, params.n))
        shown = rows if as_json else [{key: row[key] for key in _SHOWN} for row in rows]
        return {"page": result["page"], "mixtures": shown}

    run_flow(work, as_json=as_json)
