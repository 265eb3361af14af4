"""The services of docker-compose.yml as processes of this machine: their very commands, environments and health checks.

A host and port becomes a port of the loopback interface, a volume a folder. Where we may make namespaces, a service has
a root that is read-only and is not root. What else an engine adds is not here: images, limits, networks.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psycopg
import pytest
from container_files import (
    CHECKOUT,
    PLACEHOLDER,
    interpolate,
    list_image_environment,
    list_variables,
    load_compose,
    load_example,
)
from psycopg import sql

from deploy.services import postgres
from deploy.services.bootstrap import DEPLOYMENTS
from deploy.services.ports import free_port
from deploy.services.prefect_api import FINAL, PrefectApi
from deploy.services.process import default_signals
from deploy.services.state import PostgresState
from flows.settings import Settings

pytestmark = pytest.mark.slow

PATIENCE_S = 180.0
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind / && exec "$@"'
ORDINARY = ("unshare", "--user", "--map-user=1000", "--map-group=1000")


def contain(folder: Path, command: list[str]) -> list[str]:
    """Let a command write to its folder only, as an ordinary user; leave it as it is where we may not."""
    contained = ["unshare", "--mount", "sh", "-c", READ_ONLY, str(folder), *ORDINARY]
    try:
        is_allowed = subprocess.run([*contained, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        is_allowed = False
    return [*contained, *command] if is_allowed else command


class Topology:
    """Containers as processes: each in its own session, with a log, a port for a port and a folder for a volume."""

    def __init__(self, folder: Path, secrets: dict[str, str]) -> None:
        self.folder, self.secrets = folder, secrets
        self.services = interpolate(load_compose()["services"], secrets)
        self.ports = {port: str(free_port()) for port in ("5432", "4200", "4280", "8080")}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def url(self, port: str) -> str:
        return f"http://127.0.0.1:{self.ports[port]}"

    def place(self, name: str, text: str) -> str:
        """Turn hosts, ports and paths of a container into those of this machine."""
        text = re.sub(r"\b(?:postgres|prefect-server):(?=\d)", "127.0.0.1:", text).replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        text = re.sub(r"\b(5432|4200|4280|8080)\b", lambda match: self.ports[match[0]], text)
        volumes = {path: source for source, path, *_ in (v.split(":") for v in self.services[name].get("volumes", []))}
        return re.sub(
            r"(?<![\w/.:])/(?:data|reports|tmp)\b",
            lambda match: str(self.folder / volumes.get(match[0], f"{name}{match[0]}")),
            text,
        )

    def environment(self, name: str) -> dict[str, str]:
        service = self.services[name]
        image = service["image"].partition(":")[2] if "build" in service else None
        own = {**(list_image_environment(image) if image else {}), **service.get("environment", {})}
        here = {variable: os.environ[variable] for variable in ("PATH", "PYTHONPATH", "LANG") if variable in os.environ}
        paths = [str(Path(sys.executable).parent), str(postgres.binary("psql").parent), here["PATH"]]
        placed = {key: self.place(name, value) for key, value in own.items()}
        (self.folder / name / "tmp").mkdir(parents=True, exist_ok=True)
        temporary = {"HOME": str(self.folder / name), "TMPDIR": str(self.folder / name / "tmp")}
        return {"OMP_NUM_THREADS": "1", **here, **placed, **temporary, "PATH": os.pathsep.join(paths)}

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def start(self, name: str) -> subprocess.Popen[bytes]:
        # As in a container: a worker that is born deaf to SIGINT, as a background job of a script is, hears no SIGTERM.
        with (self.folder / f"{name}.log").open("ab") as log, default_signals():
            self.running[name] = subprocess.Popen(
                contain(self.folder, shlex.split(self.place(name, self.services[name]["command"]))),
                env=self.environment(name),
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self.running[name]

    def run(self, name: str) -> int:
        """Run a service that ends; return its exit code."""
        code = self.start(name).wait(PATIENCE_S)
        del self.running[name]
        return code

    def is_healthy(self, name: str) -> bool:
        kind, *command = [self.place(name, word) for word in self.services[name]["healthcheck"]["test"]]
        assert kind == "CMD"
        result = subprocess.run(command, env=self.environment(name), capture_output=True, check=False)
        return result.returncode == 0

    def wait(self, name: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self.is_healthy(name):
            process = self.running.get(name)
            assert process is None or process.poll() is None, self.log(name)
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(0.5)

    def stop(self, name: str) -> bool:
        """Stop as an engine does: SIGTERM, and SIGKILL to all of it after its grace period; whether it ended before."""
        process = self.running.pop(name)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(float(self.services[name]["stop_grace_period"].removesuffix("s")))
        has_ended = process.returncode is not None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return has_ended


@contextmanager
def _postgres(topology: Topology) -> Iterator[None]:
    """A fresh cluster with nothing but its superuser, and then what the image does once for an empty volume."""
    settings = Settings(home=topology.folder / "postgres-home", database_url=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(postgres.PORT_VARIABLE, topology.ports["5432"])
        state = postgres.start(settings, PostgresState(), print)
    try:
        password = postgres.Cluster(settings).passwords()[postgres.SUPERUSER]
        address = f"postgresql://{postgres.SUPERUSER}:{password}@127.0.0.1:{state.port}/postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            for role in postgres.DATABASES:
                connection.execute(sql.SQL("drop database {0}").format(sql.Identifier(role)))
                connection.execute(sql.SQL("drop role {0}").format(sql.Identifier(role)))
        script = topology.services["postgres"]["volumes"][1].split(":")[0]
        client = {"PGHOST": "127.0.0.1", "PGPORT": str(state.port), "PGPASSWORD": password, "POSTGRES_USER": "postgres"}
        environment = topology.environment("postgres") | client
        subprocess.run([CHECKOUT / script], env=environment, check=True, capture_output=True, text=True)
        yield
    finally:
        postgres.stop(settings, state)


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Everything up, each service when those that it depends on are well; each test looks at one side of it."""
    names = sorted(list_variables((CHECKOUT / "docker-compose.yml").read_text(), "?"))
    secrets = {name: f"planted{number}of{name.replace('_', '')}" for number, name in enumerate(names)}
    topology = Topology(tmp_path_factory.mktemp("compose"), secrets)
    assert topology.run("check-env") == 0, topology.log("check-env")
    with _postgres(topology):
        topology.wait("postgres")
        try:
            topology.start("prefect-server")
            topology.wait("prefect-server")
            assert topology.run("bootstrap") == 0, topology.log("bootstrap")
            topology.start("worker-cpu")
            topology.start("reports")
            yield topology
        finally:
            for name in list(topology.running):
                topology.stop(name)


@pytest.fixture
def api(topology: Topology) -> Iterator[PrefectApi]:
    """A client that has the password."""
    with PrefectApi(f"{topology.url('4200')}/api", auth=f"admin:{topology.secrets['PREFECT_PASSWORD']}") as api:
        yield api


def connect(topology: Topology, role: str, variable: str, database: str = "heo") -> psycopg.Connection:
    url = f"postgresql://{role}:{topology.secrets[variable]}@127.0.0.1:{topology.ports['5432']}/{database}"
    return psycopg.connect(url)


def list_definitions(api: PrefectApi) -> list[tuple[str, str]]:
    """Name and id of whatever bootstrap makes; of an automation the name only, for Prefect makes a trigger's anew."""
    found = [*api.deployments(), *api.request("POST", "/work_pools/filter", {})]
    automations = api.request("POST", "/automations/filter", {})
    return sorted([(each["name"], each["id"]) for each in found] + [(each["name"], "") for each in automations])


def test_with_the_example_as_it_is_nothing_starts(tmp_path: Path) -> None:
    topology = Topology(tmp_path, load_example())
    assert topology.run("check-env") == 1
    lines = topology.log("check-env").splitlines()
    assert {line.split()[0] for line in lines} == set(topology.services["check-env"]["environment"])
    assert all("placeholder" in line for line in lines)


def test_the_server_answers_nobody_without_the_password(topology: Topology) -> None:
    with httpx.Client(base_url=topology.url("4200"), trust_env=False) as client:
        for auth in (None, ("admin", PLACEHOLDER)):
            assert client.post("/api/deployments/filter", json={}, auth=auth).status_code == 401
        assert client.get("/api/health").json() is True
        assert client.get("/ui-settings").json()["auth"] == "BASIC"


def test_a_role_reaches_its_own_database_and_what_it_needs_there(topology: Topology) -> None:
    for role, variable in (("heo_app", "HEO_APP_PASSWORD"), ("heo_reader", "HEO_READER_PASSWORD")):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            connect(topology, role, variable, "prefect")
    with connect(topology, "heo_reader", "HEO_READER_PASSWORD") as reader:
        reader.execute("select * from leaderboard")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("select * from structure")
    with connect(topology, "heo_app", "HEO_APP_PASSWORD") as app, pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute("create table mine (x integer)")
    with connect(topology, "heo", "HEO_DB_PASSWORD") as owner:
        rights = "select rolsuper or rolcreaterole or rolcreatedb from pg_roles where rolname = any(%s)"
        found = owner.execute(rights, [["heo", "heo_app", "heo_reader", "prefect"]]).fetchall()
    assert found == [(False,)] * 4


def test_a_flow_runs_on_the_worker_and_its_rows_are_there_for_readers(topology: Topology, api: PrefectApi) -> None:
    topology.wait("worker-cpu")
    params = {"name": "cells", "n": 1}
    body = {"parameters": {"params": params}, "state": {"type": "SCHEDULED"}}
    run = api.request("POST", f"/deployments/{api.deployment('structures')['id']}/create_flow_run", body)
    deadline = time.monotonic() + PATIENCE_S
    while run["state_type"] not in FINAL and time.monotonic() < deadline:
        time.sleep(0.5)
        run = api.flow_run(run["id"])
    assert run["state_type"] == "COMPLETED", topology.log("worker-cpu")
    with connect(topology, "heo_reader", "HEO_READER_PASSWORD") as reader:
        assert reader.execute("select count(*) from dataset_structure where dataset = 'cells@1'").fetchone() == (1,)


def test_a_second_bootstrap_finds_everything_as_it_made_it(topology: Topology, api: PrefectApi) -> None:
    before = list_definitions(api)
    assert topology.run("bootstrap") == 0, topology.log("bootstrap")
    assert list_definitions(api) == before
    assert {name for name, _ in before} >= set(DEPLOYMENTS)


def test_a_report_is_served_where_artifacts_link_to(topology: Topology) -> None:
    topology.wait("reports")
    environment = topology.environment("worker-cpu")
    (Path(environment["HEO_REPORT_ROOT"]) / "page.html").write_text("<p>a page")
    link = f"{environment['HEO_REPORT_URL']}/page.html".replace("localhost", "127.0.0.1")
    assert httpx.get(link, trust_env=False).text == "<p>a page"


def test_a_worker_stops_when_it_is_told_and_no_log_holds_a_password(topology: Topology) -> None:
    assert topology.stop("worker-cpu"), topology.log("worker-cpu")
    logs = "".join(path.read_text(errors="replace") for path in topology.folder.rglob("*.log"))
    assert "Deployment 'structures/structures'" in logs, "bootstrap has no log here"
    assert [name for name, secret in topology.secrets.items() if secret in logs] == []
