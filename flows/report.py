"""Report: read the database, draw the comparison, write one page; pictures of its figures where they are asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from db import reports
from db.engine import session_scope, snapshot_scope
from flows.admission import admit, limit
from flows.evaluate import find_models
from flows.settings import load_settings
from flows.tries import AGAIN
from heo_core.params import ReportParams
from heo_core.reporting.images import write_images
from heo_core.reporting.page import render_page, write_page
from heo_core.reporting.summary import compute_answer


@task(name="write the page", cache_policy=NO_CACHE, **AGAIN)
def write_report(name: str, model_ids: list[int], benchmarks: Sequence[str] = (), out: str | None = None) -> int:
    """Return the id of the report: a page of all that the database knows of these models, copied to a folder `out`."""
    settings = load_settings()
    url = settings.resolve_database_url()
    with snapshot_scope(url) as session:
        evaluation_ids = reports.list_evaluation_ids(session, model_ids, benchmarks)
        data = reports.load_report_data(session, model_ids, benchmarks)
    answer, page = compute_answer(data), render_page(data)
    sha256 = hashlib.sha256(page.encode()).hexdigest()
    # Two files: NAME.html is always the newest page of this name. The other is what the row describes; its name is its
    # content's, so that it is there before its row and never changes under it.
    path, newest = settings.reports / f"{name}-{sha256[:12]}.html", settings.reports / f"{name}.html"
    for file in (path, newest, *([] if out is None else [Path(out).expanduser() / f"{name}.html"])):
        write_page(page, file)
    write_page(json.dumps({"path": str(newest), "summary": answer}, indent=1), settings.reports / f"{name}.json")
    get_run_logger().info("wrote %s", newest)
    with session_scope(url) as session:
        return reports.add_report(
            session, name, model_ids, evaluation_ids, uri=path.as_uri(), sha256=sha256, answer=answer
        )


@task(name="draw the figures", cache_policy=NO_CACHE, **AGAIN)
def draw_figures(params: ReportParams, model_ids: list[int]) -> None:
    """Write a picture of each figure of the report into the folder that the parameters name; none where they do not."""
    if params.figures is None:
        return
    with session_scope(load_settings().resolve_database_url()) as session:
        data = reports.load_report_data(session, model_ids, params.benchmarks)
    paths = write_images(data, Path(params.figures).expanduser(), params.figure_format)
    get_run_logger().info("wrote %s figures to %s", len(paths), params.figures)


@task(name="show the report", cache_policy=NO_CACHE, **AGAIN)
def show_report(report_id: int) -> None:
    """Put the answer and a link to the page into Prefect's UI."""
    settings = load_settings()
    with session_scope(settings.resolve_database_url()) as session:
        report = reports.get_report(session, report_id)
    link = settings.resolve_report_link(Path(report.uri).name)
    create_link_artifact(
        link, link_text=f"{report.name}: the whole page", key="report-link", description=f"The page {report.name}"
    )
    lines = "\n".join(f"- {line}" for line in report.answer)
    create_markdown_artifact(
        f"# {report.name}\n\n{lines}\n\n[The whole page]({link})",
        key="report-answer",
        description=f"What the page {report.name} says",
    )


@flow(name="report", flow_run_name="report on {params.subject}", timeout_seconds=limit(hours=1), description=__doc__)
def report(params: ReportParams = ReportParams()) -> int:
    """Return the id of the report."""
    admit(params)
    model_ids = find_models(params.models)
    report_id = write_report(params.name, model_ids, params.benchmarks, params.out)
    show_report(report_id)
    draw_figures(params, model_ids)
    return report_id
