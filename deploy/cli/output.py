"""What the commands print: steps while they go on, errors as one line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def make_console(*, stderr: bool = False) -> Console:
    """Return a console for people; without a terminal it prints plain lines of any length."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


@contextmanager
def progress(console: Console) -> Iterator[Callable[[str], None]]:
    """Show the steps that the yielded function is told, with a spinner where there is a terminal."""
    from rich.markup import escape

    begin = time.monotonic()
    with console.status("starting") as spinner:

        def say(message: str) -> None:
            console.print(f"[dim]{time.monotonic() - begin:5.1f} s[/]  {escape(message)}")
            spinner.update(escape(message))

        yield say
