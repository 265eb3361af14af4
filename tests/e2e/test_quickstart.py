"""The newcomer's command from an empty home: everything real, from the services to the report."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import psutil
import psycopg
import pytest
from psycopg import sql

from deploy.services.process import marked_processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TABLES = (
    "dataset",
    "structure",
    "training_run",
    "epoch_metric",
    "model_version",
    "benchmark",
    "evaluation",
    "prediction",
    "relaxation",
    "metric",
    "report",
)


def heo(home, *arguments):
    own = ("HEO_", "PREFECT_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    command = [sys.executable, "-m", "deploy.cli.main", *arguments]
    return subprocess.run(
        command,
        env=environment | {"HEO_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def count_rows(url):
    with psycopg.connect(url) as connection:
        rows = {}
        for table in TABLES:
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
            rows[table] = row[0]
    return rows


def find_in(output, pattern):
    match = re.search(pattern, output)
    assert match is not None, output
    return match.group(1)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("newcomer")
    yield home
    heo(home, "down")


@pytest.fixture(scope="module")
def first(home):
    """The first quickstart's output."""
    result = heo(home, "quickstart")
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def url(first):
    return find_in(first, r"psql URL\s+(postgresql://\S+)")


def test_the_report_is_written(first):
    path = Path(unquote(urlsplit(find_in(first, r"report\s+(file://\S+)")).path))
    assert path.stat().st_size > 10_000
    assert "<html" in path.read_text()


def test_the_answer_is_printed(first, home):
    latest = json.loads((home / "reports" / "pipeline.json").read_text())
    assert latest["summary"]
    assert all(line in first for line in latest["summary"])


def test_every_number_is_in_the_database(url):
    assert {table for table, count in count_rows(url).items() if count == 0} == set()


def test_the_run_is_in_prefect(first):
    address = find_in(first, r"Prefect UI\s+(http://\S+)")
    root, run_id = address.split("/runs/flow-run/")
    with httpx.Client(trust_env=False) as client:
        run = client.get(f"{root}/api/flow_runs/{run_id}").json()
    assert run["state_type"] == "COMPLETED"
    assert run["work_pool_name"] == "gpu"


def test_a_second_quickstart_reuses_what_is_done_and_says_so(home, first, url):
    before = count_rows(url)
    result = heo(home, "quickstart")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "already done" in result.stdout
    assert find_in(result.stdout, r"report\s+(file://\S+)") == find_in(first, r"report\s+(file://\S+)")
    assert count_rows(url) == before


def test_down_leaves_nothing_running(home, first):
    assert heo(home, "down").returncode == 0
    assert marked_processes(home) == []
    assert [p.pid for p in psutil.process_iter(["cmdline"]) if str(home) in " ".join(p.info["cmdline"] or [])] == []
