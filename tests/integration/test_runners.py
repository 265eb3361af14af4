"""Evaluations that are spread over processes: the same rows as in one process, whatever becomes of a process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import dask
import distributed  # noqa: F401  # dask.config.set would forget its defaults that come later
import pytest
import yaml
from ase.build import bulk
from ase.io import write
from prefect import flow, task
from querying import query

from flows.runners import find_workers, make_slurm_arguments, use_runner
from flows.settings import load_settings
from heo_core.errors import EvaluationError, InputError
from heo_core.params import RelaxJobParams, RelaxParams, ScaleParams

pytestmark = pytest.mark.timeout(1200)

TWO = ScaleParams(runner="dask", n_workers=2, structures_per_shard=1)


@task
def halve(number: int, folder: str) -> int:
    """Halve an even number; 2 kills its process once, 4 always, and odd numbers raise."""
    once = Path(folder) / "killed"
    if number == 4 or (number == 2 and not once.exists()):
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if number % 2:
        raise InputError(f"{number} is odd")
    return number // 2


@flow
def halve_all(numbers: list[int], folder: str) -> list[int]:
    done: list[int] = []
    with use_runner(TWO, load_settings()):
        workers = find_workers()
        try:
            for call, half in workers.run(halve, [{"number": number, "folder": folder} for number in numbers]):
                assert call["number"] == 2 * half
                done.append(half)
        except (EvaluationError, InputError) as exc:
            (Path(folder) / "failure").write_text(f"{exc}; {exc.__notes__[0]}")
    return sorted(done)


def test_a_shard_whose_process_dies_is_done_by_another_and_those_that_fail_leave_the_rest(
    home: Path, tmp_path: Path
) -> None:
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}):
        assert halve_all([2, 4, 6, 7, 8], str(tmp_path)) == [1, 3, 4]
    assert (tmp_path / "killed").exists()
    failure = (tmp_path / "failure").read_text()
    assert "7 is odd" in failure or "a shard's process died" in failure
    assert "2 of 5 shards failed; the rows of the others are stored" in failure


def test_two_processes_make_the_rows_that_one_makes_and_go_on_where_it_stopped(
    home: Path, tmp_path: Path, database_url: str
) -> None:
    from flows.relax import relax

    cells = [bulk(oxide, "rocksalt", a=4.3) for oxide in ("MgO", "NiO", "XeO", "CoO")]
    for number, cell in enumerate(cells):
        cell.rattle(0.05, seed=number)
    write(tmp_path / "cells.extxyz", cells)
    # One structure a batch: what stands beside it changes the last digits.
    relaxing = RelaxParams(max_force_calls=5, max_atoms_per_batch=1)
    params = RelaxJobParams(files=(str(tmp_path / "cells.extxyz"),), relax=relaxing)
    rows = "select to_jsonb(relaxation) - '{evaluation_id,wall_s}'::text[] from relaxation order by case_index"
    relax(params)
    alone = query(database_url, rows)
    assert [row["failure"] for (row,) in alone].count("unknown element: Xe") == 1

    # As a kill leaves it: one structure done, the evaluation running.
    query(database_url, "update relaxation set converged = not converged where case_index = 1")
    query(database_url, "delete from relaxation where case_index <> 1")
    query(database_url, "update evaluation set state = 'running', device = null")
    relax(params.model_copy(update={"scale": TWO}))
    together = query(database_url, rows)
    assert together[1][0]["converged"] is not alone[1][0]["converged"]  # kept, not done again
    assert [*together[:1], *together[2:]] == [*alone[:1], *alone[2:]]
    assert query(database_url, "select state, device from evaluation") == [("completed", "cpu")]


def test_slurm_is_asked_for_jobs_as_the_example_describes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dask_jobqueue import SLURMCluster

    monkeypatch.setenv("HEO_HOME", str(tmp_path))
    settings = load_settings()
    with pytest.raises(InputError, match="does not know cores and memory of a job"):
        make_slurm_arguments(settings)
    example = yaml.safe_load((Path(__file__).parents[2] / "deploy" / "slurm" / "jobqueue.yaml").read_text())
    with (
        dask.config.set({f"jobqueue.slurm.{key}": value for key, value in example["jobqueue"]["slurm"].items()}),
        SLURMCluster(**make_slurm_arguments(settings)) as cluster,
    ):
        script = cluster.job_script()
    for line in ("#SBATCH -p gpu", "#SBATCH --gres=gpu:1", "#SBATCH -t 24:00:00"):
        assert line in script.splitlines()
    assert "--nthreads 1 " in script
    assert f"--tls-key {settings.work}" in script
