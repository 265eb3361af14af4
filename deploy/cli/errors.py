"""Errors as a user meets them: one clear line on stderr and an exit code, the trace only with `--debug`."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from heo_core.errors import HeoError

UNEXPECTED, BAD_INPUT, NO_SERVICE, DISK_FULL, INTERRUPTED = 1, 2, 3, 4, 130
NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
UNREACHABLE = ("08", "57P")  # SQLSTATE classes: connection lost, server shutting down
DISK_FULL_STATE = "53100"


@dataclass(frozen=True)
class Explanation:
    """What a user is told about an exception."""

    message: str
    exit_code: int
    is_expected: bool = True


def explain(error: BaseException) -> Explanation:
    """Explain an exception in one line."""
    for link in _chain(error):
        explanation = _explain_one(link)
        if explanation is not None:
            return explanation
    text = " ".join(str(error).split()) or "no message"
    return Explanation(f"unexpected {type(error).__name__}: {text}", UNEXPECTED, is_expected=False)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that it was raised from, SQLAlchemy's original among them."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        original = getattr(link, "orig", None)
        link = original if isinstance(original, BaseException) else link.__cause__


def _explain_one(error: BaseException) -> Explanation | None:
    """Explain an exception that is known; None if it is not."""
    if isinstance(error, KeyboardInterrupt):
        return Explanation("Interrupted", INTERRUPTED)
    if isinstance(error, HeoError):
        return Explanation("\n".join([str(error), *getattr(error, "__notes__", ())]), error.exit_code)
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return Explanation(f"disk full: {error.filename or 'no space is left where heo writes'}", DISK_FULL)
    if _is_a(error, "psycopg", "OperationalError"):
        return _explain_database(error)
    if _is_a(error, "pydantic", "ValidationError"):
        return Explanation(_explain_validation(error), BAD_INPUT)
    return None


def _is_a(error: BaseException, module: str, name: str) -> bool:
    """Tell whether an exception is of a class, without importing a package that was not used."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(error, kind)


def _explain_database(error: BaseException) -> Explanation:
    """Explain psycopg's OperationalError: no connection, no space, or anything else that the server said."""
    state = getattr(error, "sqlstate", None)
    reason = " ".join(str(error).split("\n")[0].split())
    if state == DISK_FULL_STATE:
        return Explanation(f"disk full: the database says {reason}", DISK_FULL)
    if state is None or state.startswith(UNREACHABLE):
        advice = "run 'heo up', or check HEO_DATABASE_URL"
        return Explanation(f"database cannot be reached at {_database_address()}: {advice} ({reason})", NO_SERVICE)
    return Explanation(f"database error {state}: {reason}", NO_SERVICE)


def _database_address() -> str:
    """Return host and port of the database in use, never its password."""
    from flows.settings import load_settings

    try:
        url = load_settings().resolve_database_url()
    except HeoError:
        return "an unknown address"
    return url.rpartition("@")[2].partition("/")[0] or "the local socket"


def _explain_validation(error: Any) -> str:
    """Name each value that pydantic refused, and what is allowed."""
    prefix = "HEO_" if error.title == "Settings" else ""
    problems = []
    for problem in error.errors(include_url=False):
        field = ".".join(str(part) for part in problem["loc"])
        name = f"{prefix}{field.upper()}" if prefix else field or error.title
        problems.append(f"{name}={problem['input']!r}: {problem['msg']}")
    return "; ".join(problems)


def print_error(error: BaseException, *, debug: bool) -> int:
    """Print an exception to stderr as one line, after its trace if asked; return the exit code."""
    from rich.markup import escape

    from deploy.cli.output import make_console

    explanation = explain(error)
    if debug:
        traceback.print_exception(error)
    advice = "" if debug or explanation.is_expected else " (run again with --debug to see the trace)"
    make_console(stderr=True).print(f"[bold red]{escape(explanation.message)}[/]{advice}")
    return explanation.exit_code
