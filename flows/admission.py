"""What every flow asks before it does anything: whether it may touch what it is pointed at, and whether it is endless.

Whoever reaches the Prefect server can start a deployment with any parameters, and its run has the rights of the worker.
So the paths that such a run names must lie in `Settings.allowed_roots`. A flow of `heo run` has the rights of the one
who typed it, and is not asked.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from prefect.context import FlowRunContext

from flows.settings import CHECKOUT, FLOW_RUN_MARK, Settings, load_settings
from heo_core.errors import HeoError, InputError
from heo_core.params import Params

MAX_STARTS = 3
"""A run whose process died is started again by an automation; one that kills its process every time must end."""


def admit(*groups: Params, **references: str) -> None:
    """Refuse a run before any work: InputError for a path outside the allowed roots, HeoError after MAX_STARTS.

    references: of models, by the names of the flow's parameters: `file:PATH` is a path too.
    """
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        count_starts(context.flow_run.run_count)
    if FLOW_RUN_MARK not in os.environ:
        return
    settings = load_settings()
    paths = [named for group in groups for named in group.list_paths()]
    paths += [(name, text.removeprefix("file:")) for name, text in references.items() if text.startswith("file:")]
    for field, path in paths:
        confine(path, field, settings)


def count_starts(starts: int) -> None:
    """Refuse to start a run once more: HeoError after MAX_STARTS."""
    if starts > MAX_STARTS:
        raise HeoError(f"this run was started {starts - 1} times and did not come to its end; it is not started again")


def limit(**time: float) -> float | None:
    """Return after how many seconds a run is ended that the server started: hours=1, days=7; None for any other."""
    return timedelta(**time).total_seconds() if FLOW_RUN_MARK in os.environ else None


def confine(path: str, field: str, settings: Settings) -> Path:
    """Return where a path really leads, links followed; InputError, naming the roots, if it is outside of them."""
    try:
        resolved = Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as exc:
        raise InputError(f"{field}={path!r} is no path: {exc}") from exc
    if not any(resolved.is_relative_to(root) for root in settings.roots):
        raise InputError(
            f"{field}={path!r} leads to {resolved}, where runs that the server starts may not go; allowed: within "
            f"{', '.join(map(str, settings.roots))}, or what HEO_ALLOWED_ROOTS names for the worker"
        )
    if any(resolved.is_relative_to(private) for private in _list_private(settings)):
        raise InputError(f"{field}={path!r} leads to what the services keep to themselves; allowed: any other folder")
    return resolved


def _list_private(settings: Settings) -> tuple[Path, ...]:
    """Passwords and databases, which lie within the default roots; links followed, as they are for what is tested."""
    private = (*(settings.home / name for name in ("postgres", "prefect", "services.json")), CHECKOUT / ".env")
    return tuple(path.resolve() for path in private)
