"""`make test-sevennet`: SevenNet for real, evaluated beside heo-mini by two workers of two environments.

7net-0 made the labels of the bundled cells, so that its errors on them are rounding: a wrong sign or unit would show.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from ase import Atoms
from ase.io import write

from db import models, pending
from db.engine import session_scope
from deploy.services import Services, down, up
from deploy.services.prefect_api import FINAL, PrefectApi
from flows.benchmarks import add_own_benchmark
from flows.events import emit_model_promoted
from flows.settings import Settings
from heo_core.evaluation.reference_sets import load_reference_set
from heo_core.params import OffEquilibriumErrorsParams, SubstitutionRelaxParams

MODEL = "sevennet-7net-0@1"
PATIENCE_S = 1500
ERRORS = ("energy_rmse_ev_per_atom", "forces_rmse_ev_per_ang", "stress_rmse_ev_per_ang3")

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home whose services this module starts and stops."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HEO_DATABASE_URL", "HEO_ARTIFACT_STORE", "HEO_REPORT_ROOT"):
            patch.delenv(name, raising=False)
        patch.setenv("HEO_HOME", str(tmp_path_factory.mktemp("home")))
        yield Settings()
        down(Settings())


@pytest.fixture(scope="module")
def services(settings: Settings) -> Services:
    """All services, with the workers of both environments."""
    services = up(settings, say=print)
    with PrefectApi(services.api_url) as api:
        workers = api.request("POST", "/work_pools/sevennet/workers/filter", {})
    assert [worker["status"] for worker in workers] == ["ONLINE"], "run 'make setup-sevennet' first"
    return services


@pytest.fixture(scope="module")
def api(services: Services) -> Iterator[PrefectApi]:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: services.api_url}), PrefectApi(services.api_url) as api:
        yield api


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eight small labelled cells in two files."""
    starts = sorted((case.start for case in load_reference_set("off-equilibrium")), key=lambda start: start.n_atoms)
    paths = [tmp_path_factory.mktemp("cells") / name for name in ("first.extxyz", "second.extxyz")]
    for path, some in zip(paths, (starts[:4], starts[4:8]), strict=True):
        write(path, [_label(start) for start in some])
    return paths


def _label(start):
    atoms = Atoms(start.species, positions=start.positions, cell=start.lattice, pbc=True)
    stress = start.stress_ev_per_ang3[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    atoms.info |= {"REF_energy": start.energy_ev, "REF_stress": stress}
    atoms.arrays["REF_forces"] = start.forces_ev_per_ang
    return atoms


def wait_for(what, is_true):
    begin = time.monotonic()
    while not (found := is_true()):
        assert time.monotonic() - begin < PATIENCE_S, what
        time.sleep(2)
    return found


def query(services, statement, *values):
    with psycopg.connect(services.psql_url) as connection:
        return connection.execute(statement, values).fetchall()


def test_sevennet_is_evaluated_beside_heo_mini_by_the_same_flow_into_the_same_tables(services, api, cells):
    add_own_benchmark("first", OffEquilibriumErrorsParams(), files=cells[:1])
    one_cell = SubstitutionRelaxParams(composition="Mg0.5Ni0.5O", supercell=(1, 1, 1), n_cells=1)
    add_own_benchmark("one-cell", one_cell)
    params = {
        "models": ["heo-mini", "sevennet:7net-0"],
        "benchmarks": [],
        "stored_benchmarks": ["first", "one-cell"],
    }
    body = {"parameters": {"params": params}, "state": {"type": "SCHEDULED"}}
    deployment = api.deployment("evaluate")
    run = api.request("POST", f"/deployments/{deployment['id']}/create_flow_run", body)
    state = wait_for("the evaluation", lambda: (s := api.flow_run(run["id"])["state"])["type"] in FINAL and s)
    assert state["type"] == "COMPLETED", state["message"]

    errors = "select metric, value from evaluation_metric where benchmark = 'first@1' and model = %s"
    exact, learned = (dict(query(services, errors, model)) for model in (MODEL, "heo-mini@1"))
    assert all(exact[name] < 1e-3 < 10 * exact[name] + learned[name] for name in ERRORS)
    assert exact["forces_softening_slope"] == pytest.approx(1, abs=1e-3)
    relaxed = "select converged, other_converged from relaxation_pair where benchmark = 'one-cell@1' and model = %s"
    assert query(services, relaxed, MODEL) == [(True, True)]

    facts = "select package_versions ->> 'sevenn', e0s ? 'O', n_parameters from model_version where family = 'sevennet'"
    assert query(services, facts) == [("0.13.0", True, 842_623)]
    handed = api.flow_runs(deployment_id={"any_": [api.deployment("evaluate-sevennet")["id"]]})
    assert [run["state_type"] for run in handed] == ["COMPLETED"] * 3  # registered, and two benchmarks


def test_once_promoted_it_is_evaluated_by_itself(services, api, cells, settings):
    add_own_benchmark("second", OffEquilibriumErrorsParams(), files=cells[1:])
    url = settings.resolve_database_url()
    with session_scope(url) as session:
        pending.mark_auto(session, "second", auto=True)
        model_id = models.promote(session, MODEL)[0].id
    emit_model_promoted(model_id, settings)
    done = "select value < 1e-3 from evaluation_metric where benchmark = 'second@1' and model = %s and metric = %s"
    assert wait_for("the re-evaluation", lambda: query(services, done, MODEL, ERRORS[1])) == [(True,)]
