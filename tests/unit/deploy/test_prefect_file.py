import ast
from io import StringIO
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from rich.console import Console
from rich.panel import Panel

from deploy.services import bootstrap
from deploy.services.bootstrap import DEPLOYMENTS, find_deployed
from deploy.services.workers import POOLS
from flows.settings import RESTART_TAG, TAG

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture
def prefect_file():
    return yaml.safe_load((CHECKOUT / "deploy" / "prefect.yaml").read_text())


def test_every_deployment_that_heo_counts_on_is_in_the_file(prefect_file):
    assert {deployment["name"] for deployment in prefect_file["deployments"]} == set(DEPLOYMENTS)


def test_a_description_breaks_only_between_paragraphs_for_the_ui_shows_every_break(prefect_file):
    for deployment in prefect_file["deployments"]:
        paragraphs = deployment["description"].strip().split("\n\n")
        assert all(paragraph and "\n" not in paragraph for paragraph in paragraphs), deployment["name"]


def test_every_deployment_runs_in_a_pool_that_has_a_worker(prefect_file):
    pools = {pool.name for pool in POOLS}
    assert all(deployment["work_pool"]["name"] in pools for deployment in prefect_file["deployments"])


def test_a_tag_says_the_pool_whose_machine_a_deployment_needs(prefect_file):
    for deployment in prefect_file["deployments"]:
        pool = deployment["work_pool"]["name"]
        assert {tag for tag in deployment["tags"] if tag in {each.name for each in POOLS}} == {pool} - {"cpu"}


def test_every_deployment_describes_itself_and_has_its_code(prefect_file):
    for deployment in prefect_file["deployments"]:
        path, _, name = deployment["entrypoint"].partition(":")
        assert f"def {name}(" in (CHECKOUT / path).read_text()
        assert deployment["description"].startswith("**")
        assert TAG in deployment["tags"]


def test_every_flow_asks_for_admission_before_anything_else(prefect_file):
    for deployment in prefect_file["deployments"]:
        path, _, name = deployment["entrypoint"].partition(":")
        functions = [
            node for node in ast.parse((CHECKOUT / path).read_text()).body if isinstance(node, ast.FunctionDef)
        ]
        (body,) = [function.body for function in functions if function.name == name]
        assert ast.unparse(body[1]).startswith("admit("), name


def test_what_can_be_done_twice_is_started_again_when_it_dies(prefect_file):
    # The clock starts the other one again.
    tagged = {deployment["name"] for deployment in prefect_file["deployments"] if RESTART_TAG in deployment["tags"]}
    assert tagged == set(DEPLOYMENTS) - {"reevaluate"}


def test_each_deployment_that_prefect_says_is_done_is_told_once(prefect_file):
    for name in (deployment["name"] for deployment in prefect_file["deployments"]):
        console = Console(width=80, file=StringIO())  # as it is where nobody looks on
        console.print(Panel(f"Deploying {name}"))
        console.print(Panel(f"Deployment '{name}/{name}' successfully created with id '{uuid4()}'."))
        found = [find_deployed(line) for line in console.file.getvalue().splitlines()]
        assert [each for each in found if each] == [name]


def test_no_machines_path_is_in_the_file(prefect_file):
    step = prefect_file["pull"][0]["prefect.deployments.steps.set_working_directory"]
    assert step == {"directory": "{{ $HEO_CHECKOUT }}"}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap, "CHECKOUT", tmp_path)
    for name in ("deploy/prefect.yaml", "flows/pipeline.py", "heo_core/params.py", "heo_core/other.py", "db/schema.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("one")
    return tmp_path


@pytest.mark.parametrize(
    ("edited", "is_deployed_again"),
    [
        ("deploy/prefect.yaml", True),
        ("flows/pipeline.py", True),
        ("flows/new.py", True),
        ("heo_core/params.py", True),
        ("heo_core/other.py", False),
        ("db/schema.py", False),
    ],
)
def test_an_edit_is_another_definition_and_a_new_deployment_only_where_its_form_may_change(
    checkout, edited, is_deployed_again
):
    sources, deployed = bootstrap.source_definition(), bootstrap.deployed_definition()
    (checkout / edited).write_text("two")
    assert bootstrap.source_definition() != sources
    assert (bootstrap.deployed_definition() != deployed) is is_deployed_again


def test_compiled_files_are_no_edit(checkout):
    before = bootstrap.source_definition()
    (checkout / "flows" / "__pycache__").mkdir()
    (checkout / "flows" / "__pycache__" / "pipeline.pyc").write_text("compiled")
    assert bootstrap.source_definition() == before
