"""Housekeeping: look whether anything is lost, doubled or changed, and free what is no longer needed."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from db.check import check_files, check_rows
from db.engine import session_scope
from db.retention import collect_leftovers
from flows.admission import admit, limit
from flows.artifact_tables import put_into_words, show_table
from flows.settings import load_settings
from flows.tries import AGAIN
from heo_core.errors import HeoError
from heo_core.params import HousekeepingParams


@task(name="check the database", cache_policy=NO_CACHE, **AGAIN)
def check_database() -> list[str]:
    """Return what does not hold, a sentence a check; all checks become a table in Prefect's UI."""
    settings = load_settings()
    with session_scope(settings.resolve_database_url()) as session:
        checks = [*check_rows(session), check_files(session, settings.artifacts)]
    show_table(
        [put_into_words(asdict(check) | {"examples": "; ".join(check.examples)}) for check in checks],
        key="database-check",
        description="What must hold, how often it does not, and where",
    )
    return [
        f"not true: {check.name} ({check.n_violations}: {'; '.join(check.examples)})"
        for check in checks
        if check.n_violations
    ]


@task(name="find what is not needed", cache_policy=NO_CACHE, **AGAIN)
def free_leftovers(params: HousekeepingParams) -> None:
    """List what can go, in Prefect's UI, and remove it where that is asked for."""
    settings = load_settings()
    found = collect_leftovers(
        settings.resolve_database_url(),
        settings.artifacts,
        settings.work,
        settings.reports,
        datetime.now(UTC) - timedelta(days=params.keep_days),
        remove=params.remove,
    )
    show_table(
        [put_into_words(asdict(leftover) | {"written_at": str(leftover.written_at)}) for leftover in found],
        key="leftovers",
        description="Removed" if params.remove else "What 'heo gc --remove' would remove",
    )
    size_mb = sum(leftover.size_bytes for leftover in found) / 1e6
    word = "removed" if params.remove else "not needed"
    get_run_logger().info("%s: %d files and folders, %.1f MB", word, len(found), size_mb)


@flow(name="housekeeping", flow_run_name="housekeeping", timeout_seconds=limit(hours=12), description=__doc__)
def housekeeping(params: HousekeepingParams = HousekeepingParams()) -> None:
    """Raise HeoError, naming what does not hold, where the database is not whole."""
    admit(params)
    free_leftovers(params)
    if violated := check_database():
        raise HeoError("; ".join(violated))
