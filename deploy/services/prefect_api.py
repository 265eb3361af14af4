"""The few requests that heo makes of a Prefect server, over REST: importing Prefect would cost two seconds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import httpx

from heo_core.errors import ServiceError

Json = dict[str, Any]

PAGE = 200  # the server's own largest page
IN_FLIGHT = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "PAUSED")
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class PrefectApi:
    """A client of one Prefect server; every failure to talk to it is a ServiceError.

    auth: `user:password` of a server that asks for it, as in PREFECT_API_AUTH_STRING.
    """

    def __init__(self, api_url: str, timeout_s: float = 15.0, auth: str | None = None) -> None:
        self.api_url, self.auth = api_url.rstrip("/"), auth
        user, _, password = (auth or "").partition(":")
        # A proxy of the user's environment must not be asked for a server on this machine.
        self._client = httpx.Client(timeout=timeout_s, trust_env=False, auth=(user, password) if auth else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    @property
    def ui_url(self) -> str:
        """Address of the web UI."""
        return self.api_url.removesuffix("/api")

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Make one request and return its JSON, None where the answer is empty."""
        try:
            response = self._client.request(method, f"{self.api_url}{path}", json=body)
        except httpx.HTTPError as exc:
            raise ServiceError(
                f"the Prefect server at {self.api_url} does not answer: {exc or type(exc).__name__}"
            ) from exc
        if response.is_error:
            detail = response.text[:500].replace("\n", " ")
            raise ServiceError(f"the Prefect server refused {method} {path} with {response.status_code}: {detail}")
        return response.json() if response.content else None

    def is_healthy(self) -> bool:
        """Tell whether the server answers and reaches its database."""
        try:
            return self.request("GET", "/health") is True
        except ServiceError:
            return False

    # Work pools, deployments, automations

    def ensure_work_pool(self, name: str, description: str) -> None:
        """Make the process work pool, or give an existing one our description, and take its limit away."""
        wanted = {"description": description, "concurrency_limit": None}
        found = self.request("POST", "/work_pools/filter", {"work_pools": {"name": {"any_": [name]}}})
        if not found:
            self.request("POST", "/work_pools/", {"name": name, "type": "process", **wanted})
        elif any(found[0].get(key) != value for key, value in wanted.items()):
            self.request("PATCH", f"/work_pools/{name}", wanted)

    def ensure_work_queue(self, pool: str, name: str, limit: int) -> None:
        """Make a queue of a pool, of which so many runs go on at once; one that is there keeps the limit it has."""
        if all(queue["name"] != name for queue in self.request("POST", f"/work_pools/{pool}/queues/filter", {})):
            self.request("POST", f"/work_pools/{pool}/queues", {"name": name, "concurrency_limit": limit})

    def worker_heartbeat(self, pool: str, name: str) -> float | None:
        """Return when a worker was heard last, in seconds since 1970; None if it never was."""
        for worker in self.request("POST", f"/work_pools/{pool}/workers/filter", {}):
            if worker["name"] == name and worker["last_heartbeat_time"]:
                return datetime.fromisoformat(worker["last_heartbeat_time"]).timestamp()
        return None

    def deployments(self) -> list[Json]:
        """Return all deployments."""
        return list(self.request("POST", "/deployments/filter", {"limit": PAGE}))

    def deployment(self, name: str) -> Json:
        """Return the deployment of a name; ServiceError, naming those that are there, if there is none."""
        deployments = self.deployments()
        for deployment in deployments:
            if deployment["name"] == name:
                return dict(deployment)
        names = ", ".join(sorted(deployment["name"] for deployment in deployments)) or "none"
        raise ServiceError(f"the Prefect server knows no deployment {name!r}; it knows: {names}. Run 'heo up'")

    def ensure_automation(self, automation: Json) -> None:
        """Make an automation, or replace the one of the same name where it differs in what is given."""
        body = {"automations": {"name": {"any_": [automation["name"]]}}}
        found = self.request("POST", "/automations/filter", body)
        if not found:
            self.request("POST", "/automations/", automation)
        elif not _contains(found[0], automation):
            self.request("PUT", f"/automations/{found[0]['id']}", automation)

    # Flow runs

    def create_flow_run(self, deployment_id: str, *, idempotency_key: str, tags: list[str]) -> Json:
        """Make a run of a deployment with its own parameters; a key that was used before returns that run."""
        body = {"idempotency_key": idempotency_key, "tags": tags, "state": {"type": "SCHEDULED"}}
        return dict(self.request("POST", f"/deployments/{deployment_id}/create_flow_run", body))

    def flow_run(self, flow_run_id: str) -> Json:
        """Return one flow run."""
        return dict(self.request("GET", f"/flow_runs/{flow_run_id}"))

    def flow_runs(self, **criteria: Json) -> list[Json]:
        """Return the flow runs that meet criteria such as `tags={"all_": [...]}`, newest first."""
        runs = self._read_pages("/flow_runs/filter", {"flow_runs": criteria, "sort": "START_TIME_DESC"})
        return sorted(runs, key=lambda run: str(run["created"]), reverse=True)

    def runs_in_flight(self, **criteria: Json) -> list[Json]:
        """Return the flow runs that have not ended."""
        return self.flow_runs(state={"type": {"any_": list(IN_FLIGHT)}}, **criteria)

    def set_state(self, flow_run_id: str, kind: str, message: str, name: str | None = None) -> None:
        """Force a flow run into a state; without a name it has the one that its kind has."""
        body = {"state": {"type": kind, "message": message, "name": name}, "force": True}
        self.request("POST", f"/flow_runs/{flow_run_id}/set_state", body)

    def flow_name(self, flow_id: str) -> str:
        """Return the name of a flow."""
        return str(self.request("GET", f"/flows/{flow_id}")["name"])

    def task_run_name(self, task_run_id: str) -> str:
        """Return the name of a task run."""
        return str(self.request("GET", f"/task_runs/{task_run_id}")["name"])

    def logs(self, flow_run_ids: Iterable[str], after: str | None = None) -> list[Json]:
        """Return log records of flow runs, oldest first; `after` is a timestamp."""
        criteria: Json = {"flow_run_id": {"any_": list(flow_run_ids)}}
        if after is not None:
            criteria["timestamp"] = {"after_": after}
        return self._read_pages("/logs/filter", {"logs": criteria, "sort": "TIMESTAMP_ASC"})

    def _read_pages(self, path: str, query: Json) -> list[Json]:
        found: list[Json] = []
        while True:
            page = self.request("POST", path, {**query, "limit": PAGE, "offset": len(found)})
            found += page
            if len(page) < PAGE:
                return found


def _contains(found: object, wanted: object) -> bool:
    """Tell whether everything that is wanted stands in what was found, which may hold more, lists in any order."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_contains(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return False
        return all(any(_contains(one, other) for one in found) for other in wanted)
    return found == wanted
