from pathlib import Path

import pytest
import yaml

from deploy.services.bootstrap import DEPLOYMENTS
from deploy.services.workers import POOLS

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture
def prefect_file():
    return yaml.safe_load((CHECKOUT / "deploy" / "prefect.yaml").read_text())


def test_every_deployment_that_heo_counts_on_is_in_the_file(prefect_file):
    assert {deployment["name"] for deployment in prefect_file["deployments"]} == set(DEPLOYMENTS)


def test_every_deployment_runs_in_a_pool_that_has_a_worker(prefect_file):
    pools = {pool.name for pool in POOLS}
    assert all(deployment["work_pool"]["name"] in pools for deployment in prefect_file["deployments"])


def test_every_deployment_describes_itself_and_has_its_code(prefect_file):
    for deployment in prefect_file["deployments"]:
        path, _, name = deployment["entrypoint"].partition(":")
        assert f"def {name}(" in (CHECKOUT / path).read_text()
        assert deployment["description"].startswith("**")
        assert deployment["tags"]


def test_no_machines_path_is_in_the_file(prefect_file):
    step = prefect_file["pull"][0]["prefect.deployments.steps.set_working_directory"]
    assert step == {"directory": "{{ $HEO_CHECKOUT }}"}
