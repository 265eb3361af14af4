"""The `heo` command. Nothing heavy is imported here: every command imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from deploy.cli import (
    benchmarks,
    data,
    label,
    models,
    operations,
    quickstart,
    relax,
    run,
    services,
    sql,
    stability,
    structures,
)

HELP = """Finetuned machine-learning potentials for high-entropy oxides.

Start with [bold]heo quickstart[/]: it starts the services, runs the whole pipeline on bundled data, and shows where the
report is.
"""


class HeoGroup(TyperGroup):
    """The top of all commands: turns what any of them raises into one clear line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, Exception) as error:
            if _belongs_to_typer(error):
                raise
            from deploy.cli.errors import print_error

            raise typer.Exit(print_error(error, debug=bool(ctx.params.get("debug")))) from error


def _belongs_to_typer(error: BaseException) -> bool:
    """Tell whether Typer deals with an exception itself: exits, wrong usage, a pipe that was closed."""
    return type(error).__module__.startswith(("typer", "click")) or isinstance(error, BrokenPipeError)


app = typer.Typer(
    cls=HeoGroup,
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    """Print the version and end."""
    if value:
        from importlib.metadata import version

        typer.echo(f"heo {version('heo')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options of every command."""


for module in (
    quickstart,
    services,
    operations,
    data,
    structures,
    sql,
    models,
    benchmarks,
    run,
    relax,
    label,
    stability,
):
    module.register(app)


def main() -> None:
    """Run the command line."""
    app(prog_name="heo")


if __name__ == "__main__":
    main()
