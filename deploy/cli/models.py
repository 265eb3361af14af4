"""`heo models ...`: the model registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deploy.cli.database import in_session

if TYPE_CHECKING:
    from rich.tree import Tree
    from sqlalchemy.orm import Session

PANEL = "Data"

models_app = typer.Typer(
    help="Registered models. NAME@VERSION is one of them, NAME the newest version of its name, and NAME@production the "
    "one that was promoted.",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reference = Annotated[
    str, typer.Argument(metavar="NAME", help="NAME (its newest version), NAME@VERSION or NAME@production.")
]

_EPOCH_COLUMNS = ("epoch", "energy_rmse_ev_per_atom", "forces_rmse_ev_per_ang", "score", "lr", "seconds")
_MANY = 12


def register(app: typer.Typer) -> None:
    """Add these commands to the `heo` command."""
    app.add_typer(models_app, name="models", rich_help_panel=PANEL)


@models_app.command("list")
def list_models(
    state: Annotated[
        Literal["candidate", "production", "archived", "all"] | None,
        typer.Option(help="Show models in this state only.", show_default="all but the archived"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show models, newest first, how each was made, and how many warnings its assessment gave."""
    from db import models
    from deploy.cli.tables import print_rows

    rows = in_session(lambda session: models.list_models(session, state))
    if not as_json:
        columns = ("model", "state", "strategy", "parent", "dataset", "created")
        rows = [{**{name: row[name] for name in columns}, "warnings": len(row["warnings"])} for row in rows]
    nothing = "no model yet: run 'heo finetune'" if state in {None, "all"} else f"no model is in the state {state}"
    print_rows(rows, nothing, as_json=as_json)


@models_app.command("show")
def show_model(name: Reference, as_json: Json = False) -> None:
    """Show all there is to know of a model: where it comes from, how it was made, what was measured."""
    from db import models

    def summarise(session: Session) -> dict[str, Any]:
        return models.summarise(session, models.get_registered_model(session, name).id)

    print_model(in_session(summarise), as_json=as_json)


@models_app.command("add")
def add_model(
    path: Annotated[Path, typer.Argument(help="A MACE .model file.")],
    name: Annotated[str | None, typer.Option(help="Name to register it under.", show_default="the file's name")] = None,
    as_json: Json = False,
) -> None:
    """Register a MACE model file of your own, after checking that it is one; nothing else in the file is run."""
    from db import models
    from deploy.services import point_prefect
    from flows.registry import register_model
    from flows.settings import load_settings

    settings = load_settings()
    point_prefect(settings)
    model_version_id = register_model(f"file:{path}", settings, name=name)
    print_model(in_session(lambda session: models.summarise(session, model_version_id)), as_json=as_json)


@models_app.command("promote")
def promote_model(name: Reference, as_json: Json = False) -> None:
    """Make a version the production version of its name; the one that was is archived."""
    from db import models
    from db.versions import label
    from deploy.cli.tables import print_result
    from deploy.services import point_prefect
    from flows.events import emit_model_promoted
    from flows.settings import load_settings

    row, former = in_session(lambda session: models.promote(session, name))
    is_new = former is None or former.id != row.id
    if is_new:
        settings = load_settings()
        point_prefect(settings)
        emit_model_promoted(row.id, settings)
    result: dict[str, Any] = {
        "model": label(row),
        "state": row.state,
        "archived": label(former) if former is not None and is_new else None,
        "warnings": row.warnings,
    }
    if not as_json:
        result = {key: value for key, value in result.items() if value}
    print_result(result, as_json=as_json)


@models_app.command("archive")
def archive_model(
    name: Reference,
    force: Annotated[bool, typer.Option("--force", help="Also the version that is in production.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Make an archived version a candidate again.")] = False,
    as_json: Json = False,
) -> None:
    """Take a version out of the lists; it stays in the database, and can still be used by its name."""
    from db import models
    from db.versions import label
    from deploy.cli.tables import print_result

    def change(session: Session) -> dict[str, Any]:
        row = models.restore(session, name) if undo else models.archive(session, name, force=force)
        return {"model": label(row), "state": row.state}

    print_result(in_session(change), as_json=as_json)


@models_app.command("note")
def note_model(
    name: Reference,
    text: Annotated[str, typer.Argument(help="The note, in place of the one that is there; '' takes it away.")],
    as_json: Json = False,
) -> None:
    """Write a note on a model."""
    from db import models
    from db.versions import label
    from deploy.cli.tables import print_result

    def change(session: Session) -> dict[str, Any]:
        row = models.set_note(session, name, text)
        return {"model": label(row), "note": row.note}

    print_result(in_session(change), as_json=as_json)


@models_app.command("compare")
def compare_models(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Models, the one to compare with first.")],
    as_json: Json = False,
) -> None:
    """Show the numbers of models side by side, on every benchmark that all of them have completed.

    The difference is the paired one that 'heo evaluate' stored, with its 95 % interval.
    """
    from db import models
    from deploy.cli.tables import print_result, print_rows

    result = in_session(lambda session: models.compare(session, names))
    if as_json:
        print_result(result, as_json=True)
        return
    first, *others = result["models"]
    rows = [
        {
            "benchmark": row["benchmark"],
            "metric": row["metric"],
            **row["values"],
            **{f"{other} - {first}": _format_difference(row["differences"].get(other)) for other in others},
        }
        for row in result["rows"]
    ]
    options = " ".join(f"--model {label}" for label in result["models"])
    print_rows(rows, f"no benchmark was completed by all of them: run 'heo evaluate {options}'", as_json=False)


@models_app.command("export")
def export_model(
    name: Reference,
    out: Annotated[
        Path | None, typer.Option(help="File or folder to write to.", show_default="NAME-VERSION.model, here")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite another file.")] = False,
    as_json: Json = False,
) -> None:
    """Write a model's file, after checking its hash, and beside it a JSON file with all that 'show' knows."""
    from db import models
    from deploy.cli.tables import print_result
    from flows.registry import load_model_file
    from flows.settings import load_settings
    from heo_core.models.export import export_model as export

    def summarise(session: Session) -> dict[str, Any]:
        return models.summarise(session, models.get_registered_model(session, name).id)

    card = in_session(summarise)
    path, card_path = export(load_model_file(card["id"], load_settings()), card["model"], card, out, force=force)
    print_result(
        {"model": card["model"], "path": str(path), "card": str(card_path), "sha256": card["sha256"]}, as_json=as_json
    )


@models_app.command("lineage")
def show_lineage(
    name: Annotated[str, typer.Argument(metavar="NAME", help="NAME (all its versions) or NAME@VERSION.")],
    as_json: Json = False,
) -> None:
    """Show what a model descends from and what descends from it, as a tree."""
    import json

    from db import models
    from deploy.cli.output import make_console

    trees = in_session(lambda session: models.list_tree(session, name))
    if as_json:
        typer.echo(json.dumps(trees, ensure_ascii=False))
        return
    for tree in trees:
        make_console().print(_draw(tree))


def print_model(card: dict[str, Any], *, as_json: bool) -> None:
    """Print what `db.models.summarise` returns: for people without what is not known, and the long parts counted."""
    from deploy.cli.tables import print_result

    if as_json:
        print_result(card, as_json=True)
        return
    training = card["training"] or {}
    outliers = training.get("e0_outliers")
    counted = {"mace_arguments": None, "e0_outliers": None if outliers is None else f"{len(outliers)} structures"}
    shown: dict[str, Any] = {
        **card,
        "lineage": " → ".join(card["lineage"]) if len(card["lineage"]) > 1 else None,
        "elements": _count(card["elements"], "elements"),
        "e0s": _count(card["e0s"], "elements"),
        "params": _join(card["params"]),
        "package_versions": _join(card["package_versions"]),
        "training": _join(training | counted) if training else None,
        "evaluations": [_show_headline(row) for row in card["evaluations"]],
        "epochs": [
            {**{key: row.get(key) for key in _EPOCH_COLUMNS}, "": "best" if row["epoch"] == best else ""}
            for best in [training.get("best_epoch")]
            for row in card["epochs"]
        ],
    }
    for implied in ("id", "foundation", "parent"):
        del shown[implied]
    print_result({key: value for key, value in shown.items() if value not in (None, [], {}, "")}, as_json=False)


def _show_headline(row: dict[str, Any]) -> dict[str, Any]:
    interval = None if row["ci_low"] is None else f"[{row['ci_low']:.4g}, {row['ci_high']:.4g}]"
    return {
        "benchmark": row["benchmark"],
        "metric": row["metric"] or row["failure"] or row["state"],
        "value": row["value"],
        "95 % interval": interval,
        "n": row["n"],
    }


def _format_difference(difference: dict[str, Any] | None) -> str | None:
    if difference is None or difference["value"] is None:
        return None
    interval = "" if difference["ci_low"] is None else f" [{difference['ci_low']:.4g}, {difference['ci_high']:.4g}]"
    return f"{difference['value']:+.4g}{interval}"


def _count(values: Any, noun: str) -> str | None:
    """Write a few values out, and count many."""
    if not values:
        return None
    if len(values) > _MANY:
        return f"{len(values)} {noun}"
    return _join(values) if isinstance(values, dict) else ", ".join(values)


def _join(values: dict[str, Any] | None) -> str | None:
    """Write the known ones of some values as one line; what stands in a group is named GROUP.NAME."""
    words = []
    for name, value in (values or {}).items():
        if isinstance(value, dict):
            words.append(_join({f"{name}.{inner}": known for inner, known in value.items()}))
        elif value not in (None, []):
            words.append(f"{name}={value:.5g}" if isinstance(value, float) else f"{name}={value}")
    return ", ".join(word for word in words if word) or None


def _draw(node: dict[str, Any]) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    def describe(node: dict[str, Any]) -> Text:
        parts = [node["model"]]
        if node["strategy"]:
            parts.append(f"{node['strategy']} on {node['dataset']}")
        if node["state"] != "candidate":
            parts.append(node["state"])
        if node["warnings"]:
            parts.append(f"{len(node['warnings'])} warning{'s' if len(node['warnings']) > 1 else ''}")
        return Text(", ".join(parts), style={"production": "bold", "archived": "dim"}.get(node["state"], ""))

    def grow(tree: Tree, node: dict[str, Any]) -> Tree:
        for child in node["children"]:
            grow(tree.add(describe(child)), child)
        return tree

    return grow(Tree(describe(node)), node)
