"""`heo up`, `status` and `down` with a real Postgres, a real Prefect server and real workers."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time

import httpx
import psutil
import psycopg
import pytest

from deploy.services import process
from deploy.services.flow_runs import WORKER_LABEL
from deploy.services.ports import is_free
from deploy.services.prefect_api import PrefectApi
from deploy.services.state import load_state
from deploy.services.workers import POOLS, Worker

# Those of environments of their own too, where these are installed.
WORKERS = sorted(f"worker-{pool.name}" for pool in POOLS if pool.is_served)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def heo(home, *arguments, **variables):
    own = ("HEO_", "PREFECT_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    environment |= {"HEO_HOME": str(home), "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, "-m", "deploy.cli.main", *arguments]
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def heo_ok(home, *arguments, **variables):
    result = heo(home, *arguments, **variables)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def pids(home):
    state = load_state(home)
    return {
        "postgres": state.postgres.pid,
        "server": state.server.pid,
        **{name: worker.pid for name, worker in state.workers.items()},
    }


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    assert process.wait_for_end([psutil.Process(pid)] if psutil.pid_exists(pid) else [], 10) == []


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home whose path is too long for a Unix socket and has a space in it."""
    home = tmp_path_factory.mktemp("a home") / ("long" * 30)
    heo_ok(home, "up")
    yield home
    heo_ok(home, "down")


def test_every_service_is_up(home):
    statuses = json.loads(heo_ok(home, "status", "--json"))
    assert {status["name"]: status["state"] for status in statuses} == {
        "postgres": "up",
        "server": "up",
        "reports": "up",
        **dict.fromkeys(WORKERS, "up"),
    }
    assert all(os.path.getsize(status["log"]) > 0 for status in statuses if status["name"] != "server")  # noqa: PTH202


def test_passwords_are_for_the_owner_only(home):
    for file in (home / "services.json", home / "postgres" / "passwords.json"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_everything_listens_on_loopback_only(home):
    for pid in (load_state(home).postgres.pid, load_state(home).server.pid):
        listening = [c for c in psutil.Process(pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


def test_the_database_wants_a_password(home):
    port = load_state(home).postgres.port
    for role in ("heo", "postgres"):
        with pytest.raises(psycopg.OperationalError, match=r"no password|authentication failed"):
            psycopg.connect(f"postgresql://{role}@127.0.0.1:{port}/{role}")


def test_each_role_owns_its_database_and_is_no_superuser(home):
    with psycopg.connect(load_state(home).postgres.url) as connection:
        owners = dict(connection.execute("SELECT datname, pg_get_userbyid(datdba) FROM pg_database").fetchall())
        row = connection.execute("SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user").fetchone()
    assert (owners["heo"], owners["prefect"]) == ("heo", "prefect")
    assert row == (False, True)


def test_the_printed_url_is_the_one_psql_opens(home):
    url = heo_ok(home, "db", "url").strip()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("heo",)
    assert heo_ok(home, "db", "psql", "-Atc", "SELECT current_database()").strip() == "heo"


def test_env_leads_prefect_to_the_server(home):
    assert f"export PREFECT_API_URL={load_state(home).server.api_url}\n" in heo_ok(home, "env")


def test_the_ui_is_served_and_asks_its_own_server(home):
    server = load_state(home).server
    with httpx.Client(trust_env=False) as client:
        assert "<html" in client.get(server.url, follow_redirects=True).text
        assert client.get(f"{server.url}/ui-settings").json()["api_url"] == server.api_url


def test_flows_are_deployed_and_pools_serve_any_number_of_workers(home):
    with PrefectApi(load_state(home).server.api_url) as api:
        deployments = {deployment["name"]: deployment for deployment in api.deployments()}
        pools = {pool["name"]: pool["concurrency_limit"] for pool in api.request("POST", "/work_pools/filter", {})}
        automations = api.request("POST", "/automations/filter", {})
    assert set(deployments) == {
        "curate",
        "structures",
        "finetune",
        "sweep",
        "evaluate",
        "evaluate-sevennet",
        "reevaluate",
        "reevaluate-model",
        "relax",
        "stability",
        "label",
        "report",
        "pipeline",
        "housekeeping",
    }
    assert pools == {"cpu": None, "gpu": None, "sevennet": None, "dft": None}
    assert sorted(automation["name"] for automation in automations) == [
        "heo: a claimed run that never began has crashed",
        "heo: a crashed run is started again",
        "heo: a silent run has crashed",
        "heo: what waits is evaluated",
    ]


def test_a_second_up_keeps_every_process_and_deploys_nothing(home):
    before = pids(home)
    with PrefectApi(load_state(home).server.api_url) as api:
        updated = [thing["updated"] for thing in (*api.deployments(), *api.request("POST", "/automations/filter", {}))]
        output = heo_ok(home, "up")
        again = [thing["updated"] for thing in (*api.deployments(), *api.request("POST", "/automations/filter", {}))]
    assert pids(home) == before
    state = load_state(home)
    for address in (state.server.url, state.reports.url):
        assert f"  {address}\n" in output
    if "deploying" in output:
        pytest.skip("somebody has edited the flows since they were deployed")
    assert again == updated


def test_a_killed_postgres_comes_back_with_its_data(home):
    url = load_state(home).postgres.url
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE survivor AS SELECT 42 AS answer")
    kill(load_state(home).postgres.pid)
    assert heo(home, "status").returncode == 1
    heo_ok(home, "up")
    assert load_state(home).postgres.url == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT answer FROM survivor").fetchone() == (42,)
        connection.execute("DROP TABLE survivor")


def test_a_postgres_whose_port_was_taken_moves_and_the_server_follows(home):
    before, port = pids(home), load_state(home).postgres.port
    kill(before["postgres"])
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        heo_ok(home, "up")
    assert load_state(home).postgres.port != port
    assert pids(home)["server"] != before["server"]
    assert heo(home, "status").returncode == 0


def test_a_killed_server_comes_back_where_it_was_and_the_workers_stay(home):
    before, url = pids(home), load_state(home).server.url
    kill(before["server"])
    heo_ok(home, "up")
    after = pids(home)
    assert load_state(home).server.url == url
    assert after["server"] != before["server"]
    assert (after["cpu"], after["gpu"]) == (before["cpu"], before["gpu"])


def test_a_new_server_hears_that_a_run_crashed_which_began_under_the_old_one(home):
    with PrefectApi(load_state(home).server.api_url) as api:
        run = api.create_flow_run(api.deployment("finetune")["id"], idempotency_key="old server", tags=[])
        api.request("PATCH", "/work_pools/gpu", {"is_paused": True})  # the worker shall leave this run alone
        api.set_state(run["id"], "RUNNING", "as if")
        kill(load_state(home).server.pid)
        heo_ok(home, "up")
        api.set_state(run["id"], "CRASHED", "as if")
        deadline = time.monotonic() + 120
        while (state := api.flow_run(run["id"])["state"])["name"] == "Crashed" and time.monotonic() < deadline:
            time.sleep(0.2)
        api.set_state(run["id"], "CANCELLED", "seen")
        api.request("PATCH", "/work_pools/gpu", {"is_paused": False})
    assert state["name"] == "AwaitingRetry"


def test_a_killed_worker_comes_back(home):
    before = pids(home)
    kill(before["cpu"])
    heo_ok(home, "up")
    assert pids(home)["cpu"] != before["cpu"]
    assert heo(home, "status").returncode == 0


def test_up_finds_its_processes_again_when_its_notes_are_lost(home):
    before = pids(home)
    (home / "services.json").unlink()
    heo_ok(home, "up")
    assert pids(home)["postgres"] == before["postgres"]
    running = [marked.service for marked in process.marked_processes(home) if "worker" in marked.service]
    assert sorted(running) == WORKERS
    assert heo(home, "status").returncode == 0


def test_a_run_whose_process_is_gone_is_marked_as_crashed_and_started_again_but_not_another_machines(home):
    with PrefectApi(load_state(home).server.api_url) as api:
        deployment = api.deployment("curate")
        api.request("PATCH", "/work_pools/cpu", {"is_paused": True})  # the worker shall leave this run alone
        run = api.create_flow_run(deployment["id"], idempotency_key="test", tags=[])
        foreign = api.create_flow_run(deployment["id"], idempotency_key="elsewhere", tags=[])
        for each, worker in ((run, Worker(POOLS[0]).name), (foreign, "cpu on another machine")):
            api.request("PATCH", f"/flow_runs/{each['id']}/labels", {WORKER_LABEL: worker})
            api.set_state(each["id"], "RUNNING", "as if")
        heo_ok(home, "up")
        deadline = time.monotonic() + 60
        while (state := api.flow_run(run["id"])["state"])["name"] != "AwaitingRetry" and time.monotonic() < deadline:
            time.sleep(0.2)
        states = api.request("GET", f"/flow_run_states/?flow_run_id={run['id']}")
        untouched = api.flow_run(foreign["id"])["state_type"]
        for each in (run, foreign):
            api.set_state(each["id"], "CANCELLED", "seen")
        api.request("PATCH", "/work_pools/cpu", {"is_paused": False})
    (crashed,) = [state for state in states if state["type"] == "CRASHED"]
    assert "process of this run is gone" in crashed["message"]
    assert state["type"] == "SCHEDULED", "it is not started again"
    assert untouched == "RUNNING"


def test_a_port_in_use_is_one_clear_error_and_nothing_is_started(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        for variable in ("HEO_PREFECT_PORT", "HEO_POSTGRES_PORT"):
            result = heo(tmp_path, "up", **{variable: str(port)})
            assert result.returncode == 3
            assert result.stderr.startswith(f"port {port} ({variable}) is in use")
            assert len(result.stderr.splitlines()) == 1
    assert process.marked_processes(tmp_path) == []


def test_a_database_that_is_down_is_one_clear_error(tmp_path):
    url = "postgresql://heo:secret@127.0.0.1:9/heo"
    result = heo(tmp_path, "up", HEO_DATABASE_URL=url, HEO_PREFECT_DATABASE_URL=url.replace("ql:", "ql+asyncpg:"))
    assert result.returncode == 3
    assert "secret" not in result.stderr
    heo_ok(tmp_path, "down")
    assert process.marked_processes(tmp_path) == []


def test_down_leaves_nothing_whatever_there_was(home):
    stray = process.spawn(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        log=home / "logs" / "stray.log",
        environment={**os.environ, process.HOME_MARK: str(home), process.FLOW_RUN_MARK: "left by a killed worker"},
        directory=home,
    )
    kill(load_state(home).workers["gpu"].pid)
    state, begin = load_state(home), time.monotonic()
    heo_ok(home, "down")
    assert time.monotonic() - begin < 60
    assert not process.is_running(stray)
    assert process.marked_processes(home) == []
    assert [p.pid for p in psutil.process_iter(["cmdline"]) if str(home) in " ".join(p.info["cmdline"] or [])] == []
    assert is_free(state.postgres.port)
    assert is_free(state.server.port)
    assert "nothing was running" in heo_ok(home, "down")
