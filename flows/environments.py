"""Models of a family that another environment computes: a worker of that environment registers and evaluates them.

SevenNet and MACE want different versions of one package, so `.venv-sevennet` has the one and `.venv` the other. Each
such family has a work pool of its name with the deployment *evaluate-FAMILY*. A flow that meets such a model starts a
run of it and waits; what the run has done, the flow finds in the database.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from uuid import uuid4

from prefect.runtime import flow_run

from flows.deployment_runs import POLL_S, Deployment, Sight, get_log
from heo_core.errors import EvaluationError, ModelError
from heo_core.params import ScaleParams, hash_json

FLOW = "evaluate-here"
MAX_RUNS = 3
"""Runs for one question, where each dies."""


def hand_over(
    family: str,
    model: str,
    benchmark_ids: Sequence[int] = (),
    *,
    force: bool = False,
    scale: ScaleParams = ScaleParams(),
) -> None:
    """Have a model registered, and evaluated on benchmarks, by a worker of its family's environment.

    model: a published reference, or NAME@VERSION. scale: where the other run computes. ModelError, with what to do,
    where there is no such worker, and within a run of one; EvaluationError, with the reason, where its run did not
    complete.
    """
    if flow_run.get_flow_name() == FLOW:
        raise ModelError(f"this worker was to compute {model}, but {sys.prefix} cannot compute the family {family}")
    deployment = Deployment(f"{FLOW}/evaluate-{family}")
    pool, problem = deployment.find_problem()
    if problem is not None:
        raise ModelError(
            f"{model} is of the family {family}, which a worker of the pool {family} computes in an environment of its "
            f"own; pool {pool}: {problem}. Run 'make setup-{family}', then 'heo up'"
        )
    parameters = {
        "model": model,
        "benchmarks": list(benchmark_ids),
        "force": force,
        "scale": scale.model_dump(mode="json"),
    }
    # The same flow, started again, joins the run that it started before.
    key = f"evaluate-{family}-{hash_json([flow_run.get_id() or str(uuid4()), parameters])[:32]}"
    sight = Sight("died")
    for number in range(1, MAX_RUNS + 1):
        run_id = deployment.start(parameters, name=f"evaluate {model}", key=f"{key}-{number}", tags=["evaluation"])
        sight = deployment.look(run_id)
        if sight.state in {"failed", "given up"}:
            continue  # so soon, it is what an earlier start of this flow was told
        get_log().info("%s is computed by %s, run %s", model, deployment.name, run_id)
        while sight.state == "running":
            time.sleep(POLL_S)
            sight = deployment.look(run_id)
        if sight.state == "completed":
            return
        if sight.state != "died":
            break
    raise EvaluationError(f"the run of {deployment.name} for {model} did not complete: {sight.message}")
