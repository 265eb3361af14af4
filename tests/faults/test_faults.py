"""A finetuning under which one thing after another is killed ends by itself, and leaves what an undisturbed one does.

The short form of `make test-faults`, which kills each kind thirty times at every stage.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from database_content import Content, compare
from kills import KINDS
from suite import run_kills
from workload import Workload

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLED = ("flow process", "trainer", "Postgres", "worker KILL", "Prefect server")


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workload]:
    """A home in which a dataset was made and a model finetuned, undisturbed."""
    workload = Workload(tmp_path_factory.mktemp("faults"), stages=("curate", "finetune"))
    try:
        workload.prepare()
        yield workload
    finally:
        workload.down()


def test_whatever_is_killed_the_run_ends_and_the_database_is_that_of_an_undisturbed_one(workload: Workload) -> None:
    kinds = [next(kind for kind in KINDS if kind.name == name) for name in KILLED]
    row = run_kills(workload, "finetune", kinds, np.random.default_rng(0), latest=0.1)
    # The last ones may find that the run has ended.
    assert len(row["kills"]) >= 3, row
    assert (row["state"], row["left_behind"]) == ("COMPLETED", False), row
    assert (row["lost"], row["doubled"], row["changed"], row["violated"]) == (0, 0, 0, ""), row


def test_a_row_that_is_missing_too_many_or_other_is_told(workload: Workload) -> None:
    expected = workload.expected("finetune")
    before = workload.expected("curate")
    assert not compare(expected, workload.expected("finetune"))
    assert any(what.startswith("training_run") for what in compare(expected, before).lost)
    assert any(what.startswith("training_run") for what in compare(before, expected).doubled)
    changed = Content(workload.url("after_finetune"))
    next(iter(changed.tables["epoch_metric"][1].values()))["validation_loss"] += 1.0
    assert [what.partition(" ")[0] for what in compare(expected, changed).changed] == ["epoch_metric"]
