"""What a fresh database and a fresh Prefect server need: tables, work pools, deployments, crash recovery.

Every step is safe to repeat. `heo up` runs them on this machine, `heo bootstrap` on servers that run elsewhere.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from deploy.services.environment import log_file, prefect_environment, resolved_home, service_environment
from deploy.services.prefect_api import Json, PrefectApi
from deploy.services.process import Say, end_strays, last_lines
from deploy.services.workers import POOLS
from flows.settings import CHECKOUT, RESTART_TAG, TAG, Settings, as_psycopg_url
from heo_core.errors import ServiceError

SERVICE = "deploy"
DEPLOYMENTS = (
    "curate",
    "structures",
    "finetune",
    "sweep",
    "evaluate",
    "evaluate-sevennet",
    "reevaluate",
    "reevaluate-model",
    "relax",
    "label",
    "stability",
    "report",
    "pipeline",
    "housekeeping",
)
SWEEP_QUEUE = "sweeps"
PREFECT_FILE = Path("deploy", "prefect.yaml")
HEARTBEAT = "prefect.flow-run.heartbeat"
SILENCE_S = 90  # three heartbeats of 30 s; with fewer, healthy runs on a busy machine would be given up


def _tagged(tag: str) -> Json:
    """Describe what an event of a run with a tag is related to."""
    return {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{tag}"}


def _name_events(*states: str) -> list[str]:
    """Return the names of the events that a run has come into these states."""
    return [f"prefect.flow-run.{state}" for state in states]


_ENDS = ("Completed", "Failed", "Cancelled", "Crashed")

# What an automation waits `after` stands in `expect` too: else Prefect 3.8.8 goes on with the time that it has begun to
# count, which is fulfilled, and the same again within it, such as the claim of a run that was started again, counts as
# seen to.
CRASH_RECOVERY: Json = {
    "name": "heo: a silent run has crashed",
    "description": f"A flow run that sent no heartbeat for {SILENCE_S} s was killed: it must not count as running.",
    "enabled": True,
    "trigger": {
        "type": "event",
        "posture": "Proactive",
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "match_related": _tagged(TAG),
        # A run may die before its first heartbeat.
        "after": [*_name_events("Running"), HEARTBEAT],
        "expect": [HEARTBEAT, *_name_events("Running", *_ENDS)],
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": SILENCE_S,
    },
    "actions": [
        {"type": "change-flow-run-state", "state": "CRASHED", "message": f"No heartbeat for {SILENCE_S} s."},
    ],
}

CLAIM_S = 300  # from a worker's claim to the first sign of life, which takes half a minute
CLAIM_RECOVERY: Json = {
    "name": "heo: a claimed run that never began has crashed",
    "description": f"A flow run that a worker claimed and that did not begin within {CLAIM_S} s died with its worker.",
    "enabled": True,
    "trigger": {
        "type": "event",
        "posture": "Proactive",
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "match_related": _tagged(TAG),
        "after": _name_events("Pending"),
        "expect": _name_events("Pending", "Running", "Scheduled", "AwaitingRetry", *_ENDS),
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": CLAIM_S,
    },
    "actions": [
        {"type": "change-flow-run-state", "state": "CRASHED", "message": f"It did not begin within {CLAIM_S} s."},
    ],
}

RESTART_DELAY_S = 15  # a worker ends itself over a run that comes back before it has put its last process away
CRASH_RESTART: Json = {
    "name": "heo: a crashed run is started again",
    "description": f"A run tagged {RESTART_TAG} whose process died is started again, and goes on where it stopped. "
    "It counts its starts, and fails at the fourth.",
    "enabled": True,
    "trigger": {
        "type": "event",
        "posture": "Proactive",
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "match_related": [_tagged(TAG), _tagged(RESTART_TAG)],
        "after": _name_events("Crashed"),
        "expect": _name_events("AwaitingRetry", "Scheduled", "Pending", "Running", *_ENDS),
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": RESTART_DELAY_S,
    },
    "actions": [
        {
            "type": "change-flow-run-state",
            "state": "SCHEDULED",
            "name": "AwaitingRetry",
            "message": "Its process died; it goes on where it stopped.",
        },
    ],
}


def migrate(database_url: str, say: Say) -> None:
    """Bring the tables of the `heo` database to the newest form."""
    from db import migrations

    say("database: bringing the tables up to date")
    migrations.upgrade(as_psycopg_url(database_url))


def prepare_server(api: PrefectApi) -> None:
    """Make the work pools, and the automations that end and restart what died."""
    for pool in POOLS:
        api.ensure_work_pool(pool.name, pool.description)
    api.ensure_work_queue("cpu", SWEEP_QUEUE, 1)
    for automation in (CRASH_RECOVERY, CLAIM_RECOVERY, CRASH_RESTART):
        api.ensure_automation(automation)


def deployed_definition() -> str:
    """Digest what a deployment is made from: our file, the flows, and the parameters that its form shows."""
    return _digest([PREFECT_FILE, Path("flows"), Path("heo_core", "params.py")])


def source_definition() -> str:
    """Digest everything that decides what a flow does, bundled assets included."""
    return _digest([PREFECT_FILE, Path("flows"), Path("heo_core"), Path("db")])


def _digest(sources: Iterable[Path]) -> str:
    """Digest files and folders of the checkout, and where it is and which Python runs it."""
    digest = hashlib.sha256(repr((str(CHECKOUT), sys.executable)).encode())
    for source in sources:
        top = CHECKOUT / source
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(CHECKOUT)).encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def deploy_flows(settings: Settings, api: PrefectApi, known_definition: str | None, say: Say) -> str:
    """Deploy the flows unless the server has this very definition of them; return the definition."""
    definition = f"{deployed_definition()} {settings.reevaluation_cron}"
    if definition == known_definition and not _missing(api):
        return definition
    say("Prefect: deploying the flows, which takes minutes on a busy machine")
    end_strays(resolved_home(settings), SERVICE)
    _run_deploy(settings, api, say)
    if missing := _missing(api):
        log = last_lines(log_file(settings, SERVICE), 20)
        raise ServiceError(f"after deploying, the Prefect server has no deployment {', '.join(missing)}; {log}")
    return definition


def _missing(api: PrefectApi) -> list[str]:
    """Return the names of the deployments that the server does not have."""
    names = {deployment["name"] for deployment in api.deployments()}
    return [name for name in DEPLOYMENTS if name not in names]


def _run_deploy(settings: Settings, api: PrefectApi, say: Say) -> None:
    """Run `prefect deploy` on our file, and say which flows are done; ServiceError with its last lines if it fails."""
    log = log_file(settings, SERVICE)
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = service_environment(settings, SERVICE) | prefect_environment(settings, api.api_url)
    if api.auth is not None:
        environment["PREFECT_API_AUTH_STRING"] = api.auth
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(PREFECT_FILE)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment | {"HEO_CHECKOUT": str(CHECKOUT), "HEO_REEVALUATION_CRON": settings.reevaluation_cron},
        cwd=CHECKOUT,
        encoding="utf-8",
        errors="replace",
    )
    with process, log.open("w", buffering=1, encoding="utf-8") as output:
        for line in process.stdout or ():
            output.write(line)
            if name := find_deployed(line):
                say(f"Prefect: deployed {name}")
    if process.returncode != 0:
        raise ServiceError(f"the flows could not be deployed; {last_lines(log, 20)}")


def find_deployed(line: str) -> str | None:
    """Return the deployment that a line of `prefect deploy` says is done."""
    found = re.search(r"Deployment '[^'/]+/([^']+)' successfully", line)
    return found and found[1]
