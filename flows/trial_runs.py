"""How the trials of a sweep are trained: as runs of the deployment finetune on its work pool, or in this process."""

from __future__ import annotations

from typing import Protocol

from flows.deployment_runs import POLL_S, Deployment, Sight
from flows.finetune import finetune
from heo_core.errors import HeoError, ServiceError
from heo_core.params import FinetuneParams


class Runner(Protocol):
    """Starts trainings and sees how they are."""

    max_tries: int
    """Flow runs of one trial: one whose process died is started again."""
    poll_s: float
    """Seconds between two looks."""

    def check(self) -> None:
        """ServiceError where nothing would run."""

    def start(
        self, params: FinetuneParams, *, name: str, key: str, tags: list[str], assess: bool = False
    ) -> str | None:
        """Start a training, or find the one of this key; return its flow run."""

    def look(self, flow_run_id: str | None, params: FinetuneParams, *, assess: bool = False) -> Sight:
        """See how a training is that was started."""


class HereRunner:
    """Trains one trial after another; a trial that was broken off is trained again, and finds what is done."""

    max_tries = 1
    poll_s = 0.0

    def check(self) -> None:
        """Nothing is needed."""

    def start(self, params: FinetuneParams, *, name: str, key: str, tags: list[str], assess: bool = False) -> None:
        """Leave the training to the first look."""

    def look(self, flow_run_id: str | None, params: FinetuneParams, *, assess: bool = False) -> Sight:  # noqa: ARG002
        """Train now. What breaks the machine rather than the trial ends the sweep, which goes on when run again."""
        try:
            finetune(params, assess=assess)
        except ServiceError:
            raise
        except (HeoError, RuntimeError, ValueError, MemoryError) as exc:
            return Sight("failed", str(exc) or type(exc).__name__)
        return Sight("completed")


class PoolRunner:
    """Makes runs of the deployment finetune, under the sweep's own run in Prefect's UI, and watches them."""

    max_tries = 3
    poll_s = POLL_S

    def __init__(self) -> None:
        """Nothing is asked of the server yet."""
        self._deployment = Deployment("finetune/finetune")

    def check(self) -> None:
        """ServiceError, with what to do, where there is no deployment or no worker for it."""
        pool, problem = self._deployment.find_problem()
        if problem is not None:
            raise ServiceError(
                f"trials cannot run on the work pool {pool}: {problem}; run 'heo up', or set runner=here"
            )

    def start(self, params: FinetuneParams, *, name: str, key: str, tags: list[str], assess: bool = False) -> str:
        """Make a flow run, or find the one of this key."""
        parameters = {"params": params.model_dump(mode="json"), "assess": assess}
        return self._deployment.start(parameters, name=name, key=key, tags=tags)

    def look(self, flow_run_id: str | None, params: FinetuneParams, *, assess: bool = False) -> Sight:  # noqa: ARG002
        """See the state of a flow run."""
        return self._deployment.look(flow_run_id)
