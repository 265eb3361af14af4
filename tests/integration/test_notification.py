"""Who is told that a model beats its parent or falls behind it: a real webhook block, and a server that hears it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from prefect import flow
from prefect.blocks.notifications import CustomWebhookNotificationBlock

from db import evaluations, labels, models, reports
from db.engine import session_scope
from flows.reevaluate import notify
from heo_core.labelling.label import Label, Origin, Wanted
from heo_core.params import OffEquilibriumErrorsParams, SubstitutionRelaxParams
from heo_core.records import BenchmarkCase, Metric, ModelFile, Structure

FORCES = "forces_rmse_ev_per_ang"


@pytest.fixture
def webhook(prefect_api_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, str]]]:
    """What the block of HEO_NOTIFY has sent."""
    heard: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("HEO_DATABASE_URL", database_url)
    monkeypatch.setenv("HEO_NOTIFY", "custom-webhook/laboratory")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        set_address(f"http://127.0.0.1:{server.server_port}/")
        yield heard
        server.shutdown()


def set_address(url: str) -> None:
    message = {"title": "{{subject}}", "text": "{{body}}"}
    block = CustomWebhookNotificationBlock(name="laboratory", url=url, json_data=message)
    block.save("laboratory", overwrite=True, _sync=True)


def add_comparison(url: str, difference: float) -> tuple[int, list[int], list[int]]:
    """Store a child whose force error differs so from its parent's 0.1 eV/Å; ids of report, models and benchmarks."""
    values = {"parent": 0.1, "child": 0.1 + difference}
    with session_scope(url) as session:
        benchmark = evaluations.add_benchmark(
            session, OffEquilibriumErrorsParams(), [], name="off-equilibrium", dataset_id=None, reference_id=None
        )
        model_ids, evaluation_ids = [], []
        for name, value in values.items():
            file = ModelFile("mace", name, f"{name}.model", name.ljust(64, "0"), ("Mg", "O"), "MIT")
            row, _ = models.register_published_model(session, file, name=name, size_bytes=1, energy_scale=None)
            made = evaluations.start_evaluation(session, row.id, benchmark.id, flow_run_id=None)
            evaluations.complete_evaluation(session, made.id, [Metric(FORCES, value, "eV/Å", 8)], 1.0)
            model_ids.append(row.id)
            evaluation_ids.append(made.id)
        change = Metric(FORCES, difference, "eV/Å", 8, difference - 0.01, difference + 0.01)
        evaluations.set_comparison(session, *evaluation_ids, [change])
        report_id = reports.add_report(
            session, "page", model_ids, evaluation_ids, uri="file:///page.html", sha256="0" * 64, answer=[]
        )
        return report_id, model_ids, [benchmark.id]


@flow
def tell(report_id: int, model_ids: list[int], benchmark_ids: list[int]) -> None:
    notify(report_id, model_ids, benchmark_ids)


@pytest.mark.parametrize(
    ("difference", "title", "text"),
    [
        (-0.05, "child@1 beats its parent", "off-equilibrium@1: child@1's force RMSE off equilibrium is 50 % lower"),
        (0.05, "child@1 falls behind its parent", "is 50 % higher"),
    ],
)
def test_a_block_is_told_in_words_where_a_model_beats_or_falls_behind_its_parent(
    webhook, database_url, difference, title, text
):
    tell(*add_comparison(database_url, difference))
    (message,) = webhook
    assert message["title"] == title
    assert text in message["text"]
    assert message["text"].endswith("/page.html")


def test_what_the_interval_does_not_decide_is_told_to_nobody(webhook, database_url):
    notify.fn(*add_comparison(database_url, -0.005))
    assert webhook == []


def test_what_only_a_surrogate_calls_lower_is_told_to_nobody_and_what_dft_does_is(webhook, database_url):
    lattice, ideal = np.eye(3) * 4.2, np.array([[0.0, 0, 0], [2.1, 2.1, 2.1]])
    starts = [Structure(lattice * (1 + 0.01 * i), ideal, ("Mg", "O"), f"MgO/{i}", "generated") for i in range(6)]
    report_id, model_ids, _ = add_comparison(database_url, -0.05)
    with session_scope(database_url) as session:
        cases = [BenchmarkCase(start, None, {"cell": i}) for i, start in enumerate(starts)]
        benchmark_id = evaluations.add_benchmark(
            session, SubstitutionRelaxParams(), cases, name="relax", dataset_id=None, reference_id=None
        ).id
        for model_id in model_ids:
            made = evaluations.start_evaluation(session, model_id, benchmark_id, flow_run_id=None)
            evaluations.complete_evaluation(session, made.id, [], 1.0)

    def label_all(name: str, engine: str, functional: str) -> None:
        with session_scope(database_url) as session:
            scale = {"engine": engine, "functional": functional, "settings": {"model": "another"}}
            label_set = labels.open_label_set(session, name, **scale)
            for energy, model_id in zip((-10.0, -10.5), model_ids, strict=True):
                finals = [replace(start, immutable_id=f"{start.immutable_id}/{model_id}") for start in starts]
                origins = [Origin(benchmark_id, i, model_id, converged=True) for i in range(6)]
                labels.set_origins(session, label_set.id, list(map(Wanted, finals, origins)))
                for final in finals:
                    labels.add_label(session, label_set, final, Label(1.0, None, energy, np.zeros((2, 3))))

    label_all("surrogate", "potential", "7net-0 (potential)")
    notify.fn(report_id, model_ids, [benchmark_id])
    assert webhook == []
    label_all("dft", "gpaw", "pbe+u (gpaw)")
    tell(report_id, model_ids, [benchmark_id])
    (message,) = webhook
    assert "child@1 found the lower minimum in 6 of 6 starts, the baseline in 0" in message["text"]
    assert "surrogate" not in message["text"]


def test_a_block_that_cannot_be_reached_costs_a_warning_that_keeps_its_address(webhook, database_url, caplog):
    set_address("http://127.0.0.1:9/planted-secret")
    with caplog.at_level(logging.WARNING):
        tell(*add_comparison(database_url, -0.05))
    assert "custom-webhook/laboratory of HEO_NOTIFY was not told: ConnectError" in caplog.text
    assert "planted-secret" not in caplog.text
