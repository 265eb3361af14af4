"""LeMat-Bulk over HTTP: the same dataset as from its files, whatever the network does in between."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_driver import Driver
from hub_server import Fault, HubServer

from heo_core.assets import SAMPLE_DIR
from heo_core.params import HUB_DATASET

# A server that hangs must not hang the tests.
pytestmark = pytest.mark.timeout(60)

CARD = """---
license: cc-by-4.0
configs:
- config_name: compatible_pbe
  data_files:
  - split: train
    path: compatible_pbe/train-*
- config_name: compatible_pbesol
  data_files:
  - split: train
    path: compatible_pbesol/train-*
dataset_info:
- config_name: compatible_pbe
  splits:
  - name: train
    num_examples: 400
---
# LeMat-Bulk
"""
FIRST, SECOND, THIRD = (f"compatible_pbe/train-{i:05}-of-00003.parquet" for i in range(3))
# The Hub's client tries six times by itself before an error reaches us.
CLIENT_TRIES = 6


def write_repository(folder: Path) -> Path:
    """Write the sample's rows laid out as LeMat-Bulk: 400 in three files of one config, the rest in one of another."""
    rows = pq.read_table(next(SAMPLE_DIR.glob("*.parquet")))
    for name, first, last in (
        (FIRST, 0, 150),
        (SECOND, 150, 300),
        (THIRD, 300, 400),
        ("compatible_pbesol/train-00000-of-00001.parquet", 400, rows.num_rows),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows.slice(first, last - first), folder / name, row_group_size=40)
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("hub") / "repository")


@pytest.fixture(scope="module")
def served(repository: Path) -> Iterator[HubServer]:
    with HubServer(HUB_DATASET) as server:
        server.push(repository)
        yield server


@pytest.fixture
def hub(served: HubServer, repository: Path) -> Iterator[HubServer]:
    """The Hub, well behaved, with the repository as its newest commit."""
    served.heal()
    served.push(repository)
    served.forget()
    yield served
    served.heal()


@pytest.fixture(scope="module")
def environment(served: HubServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("hf_home")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE_"))}
    return ours | {
        "HF_ENDPOINT": served.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]),
    }


@pytest.fixture(scope="module")
def driver(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    driver = Driver(environment, tmp_path_factory.mktemp("driver") / "stderr")
    yield driver
    driver.kill()


@pytest.fixture(scope="module")
def undisturbed(driver: Driver, served: HubServer) -> dict[str, Any]:
    """What comes of it when nothing goes wrong, and how many requests each shard takes; the first: with the opening."""
    served.forget()
    answer = driver.ask(source="hub")
    answer["n_requests"] = {name: served.count(name) for name in (FIRST, SECOND, THIRD)}
    served.forget()
    driver.ask(source="hub", only_open=True)
    answer["n_to_open"] = served.count(FIRST)
    return answer


def test_a_hub_a_copy_of_it_and_its_files_alone_give_the_same_dataset(
    driver: Driver, hub: HubServer, repository: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    for name in (FIRST, SECOND, THIRD):
        shutil.copy(repository / name, tmp_path)
    copy = driver.ask(source=str(repository))
    files = driver.ask(source=str(tmp_path))
    pinned = driver.ask(source="hub", hub_revision=hub.push(repository))
    assert undisturbed["dataset"] == copy["dataset"] == files["dataset"] == pinned["dataset"]
    assert undisturbed["dataset"]["n_scanned"] == undisturbed["total"] == 400
    assert len(undisturbed["dataset"]["entries"]) > 200
    assert set(undisturbed["dataset"]["splits"]) == {"train", "validation", "test"}


def test_the_revision_is_the_commit_that_main_stands_for_and_licence_and_citation_are_set(
    driver: Driver, hub: HubServer, repository: Path, undisturbed: dict[str, Any]
) -> None:
    commit = hub.push(repository)
    copy = driver.ask(source=str(repository))
    assert undisturbed["revision"] == commit
    for answer in (undisturbed, copy):
        assert answer["licence"] == "CC-BY-4.0"
        assert "doi:10.57967/hf/3762" in answer["citation"]


def test_an_older_commit_is_read_as_it_was(
    driver: Driver, hub: HubServer, repository: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    changed = shutil.copytree(repository, tmp_path / "changed")
    (changed / SECOND).unlink()
    old, new = hub.push(repository), hub.push(changed)
    newest = driver.ask(source="hub")
    assert newest["revision"] == new
    assert newest["dataset"]["n_scanned"] == 250
    assert driver.ask(source="hub", hub_revision=old)["dataset"] == undisturbed["dataset"]


@pytest.mark.usefixtures("hub")
def test_another_config_is_made_of_other_files(driver: Driver, undisturbed: dict[str, Any], repository: Path) -> None:
    answer = driver.ask(source="hub", hub_config="compatible_pbesol")
    assert answer["dataset"]["n_scanned"] == 129
    assert answer["total"] is None, "the card does not say how many rows this config has"
    assert answer["revision"] == undisturbed["revision"]
    assert answer["dataset"] == driver.ask(source=str(repository), hub_config="compatible_pbesol")["dataset"]
    assert answer["dataset"] != undisturbed["dataset"]


@pytest.mark.usefixtures("hub")
def test_an_unknown_config_is_named_and_so_are_those_that_are_there(driver: Driver, repository: Path) -> None:
    for source in ("hub", str(repository)):
        answer = driver.ask(source=source, hub_config="compatible_scan")
        assert answer["error"] == "SourceError"
        for name in ("compatible_scan", "compatible_pbe", "compatible_pbesol"):
            assert repr(name) in answer["message"]


@pytest.mark.usefixtures("hub")
def test_an_unknown_revision_is_named_and_so_are_those_that_are_there(driver: Driver) -> None:
    answer = driver.ask(source="hub", hub_revision="v9")
    assert answer["error"] == "SourceError"
    assert answer["message"] == f"{HUB_DATASET} has no revision 'v9'; there are main, and the sha of any commit"


def test_no_byte_of_a_shard_is_asked_for_twice(
    driver: Driver, hub: HubServer, repository: Path, undisturbed: dict[str, Any]
) -> None:
    size = (repository / SECOND).stat().st_size
    assert driver.ask(source="hub")["dataset"] == undisturbed["dataset"]
    assert sum(request.n_bytes for request in hub.requests if SECOND in request.path) <= size
    hub.forget()
    assert driver.ask(source="hub", bytes_per_request=8 * 1024**2)["dataset"] == undisturbed["dataset"]
    assert hub.count(SECOND) == 1


def test_a_cut_that_heals_at_once_costs_one_request(
    driver: Driver, hub: HubServer, undisturbed: dict[str, Any]
) -> None:
    hub.misbehave(SECOND, Fault.CUT, pass_first=3, times=1)
    answer = driver.ask(source="hub")
    assert answer["dataset"] == undisturbed["dataset"]
    assert answer["n_retries"] == 0
    assert hub.count(SECOND) == undisturbed["n_requests"][SECOND] + 1


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.UNAVAILABLE])
def test_a_stream_that_breaks_is_read_again_from_the_beginning_of_that_shard_alone(
    driver: Driver, hub: HubServer, undisturbed: dict[str, Any], fault: Fault
) -> None:
    last = undisturbed["n_requests"][SECOND] - 1
    assert last >= 3, "nothing breaks in the middle of a shard that comes at once"
    hub.misbehave(SECOND, fault, pass_first=last, times=CLIENT_TRIES)
    answer = driver.ask(source="hub")
    assert answer["dataset"] == undisturbed["dataset"]
    assert answer["n_retries"] == 1
    assert hub.count(FIRST) == undisturbed["n_requests"][FIRST]
    assert hub.count(SECOND) == last + CLIENT_TRIES + undisturbed["n_requests"][SECOND]
    assert hub.count(THIRD) == undisturbed["n_requests"][THIRD]


@pytest.mark.parametrize(("fault", "silence_s"), [(Fault.CUT, 20.0), (Fault.UNAVAILABLE, 20.0), (Fault.SILENT, 0.1)])
def test_a_shard_that_stays_broken_ends_the_scan_and_the_next_one_goes_on_from_there(
    driver: Driver, hub: HubServer, undisturbed: dict[str, Any], tmp_path: Path, fault: Fault, silence_s: float
) -> None:
    last = undisturbed["n_requests"][SECOND] - 1
    hub.misbehave(SECOND, fault, pass_first=last)
    answer = driver.ask(source="hub", folder=tmp_path, silence_s=silence_s)
    assert answer["error"] == "SourceError"
    assert SECOND in answer["message"]
    (note,) = answer["notes"]
    assert note.startswith("tried 5 times; shards that were finished are kept")
    assert hub.count(SECOND) <= last + 5 * CLIENT_TRIES
    hub.heal()
    hub.forget()
    answer = driver.ask(source="hub", folder=tmp_path)
    assert answer["dataset"] == undisturbed["dataset"]
    assert hub.count(FIRST) == undisturbed["n_to_open"] < undisturbed["n_requests"][FIRST]
    assert hub.count(SECOND) == undisturbed["n_requests"][SECOND]


def test_a_hub_that_falls_silent_while_it_is_opened_is_given_up(
    driver: Driver, hub: HubServer, repository: Path, tmp_path: Path
) -> None:
    changed = shutil.copytree(repository, tmp_path / "changed")
    (changed / THIRD).unlink()
    hub.push(changed)
    hub.misbehave("/tree/", Fault.SILENT)
    answer = driver.ask(source="hub", silence_s=0.1)
    assert answer["error"] == "SourceError"
    assert "cannot be opened on the Hugging Face Hub: timed out" in answer["message"]


def test_a_scan_that_is_killed_in_the_middle_of_a_shard_goes_on_from_the_last_finished_one(
    driver: Driver, hub: HubServer, environment: dict[str, str], undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    victim = Driver(environment, tmp_path / "stderr")
    folder = tmp_path / "scan"
    last = undisturbed["n_requests"][SECOND]
    hub.misbehave(SECOND, Fault.SILENT, pass_first=last - 1)
    victim.send(source="hub", folder=folder)
    hub.wait_for(SECOND, last)
    assert len(list(folder.glob("*.part"))) == 1
    victim.kill()
    hub.heal()
    hub.forget()
    answer = driver.ask(source="hub", folder=folder)
    assert answer["dataset"] == undisturbed["dataset"]
    assert hub.count(FIRST) == undisturbed["n_to_open"]
    assert hub.count(SECOND) == last
    assert not list(folder.glob("*.part"))


@pytest.mark.parametrize("name", [FIRST, SECOND])
def test_a_column_that_a_file_on_the_hub_lacks_is_named_and_the_file_is_not_tried_again(
    driver: Driver, hub: HubServer, repository: Path, undisturbed: dict[str, Any], tmp_path: Path, name: str
) -> None:
    changed = shutil.copytree(repository, tmp_path / "changed")
    pq.write_table(pq.read_table(repository / name).drop_columns(["forces"]), changed / name)
    hub.push(changed)
    answer = driver.ask(source="hub")
    assert answer["error"] == "SourceError"
    assert f"{name} lacks the column forces; found: " in answer["message"]
    assert not answer["notes"]
    assert hub.count(name) <= undisturbed["n_requests"][name]


def test_a_column_of_another_type_on_the_hub_is_named(
    driver: Driver, hub: HubServer, repository: Path, tmp_path: Path
) -> None:
    changed = shutil.copytree(repository, tmp_path / "changed")
    rows = pq.read_table(repository / THIRD)
    text = pa.array(["much"] * rows.num_rows)
    pq.write_table(rows.set_column(rows.column_names.index("energy"), "energy", text), changed / THIRD)
    hub.push(changed)
    answer = driver.ask(source="hub")
    assert f"{THIRD}: column energy is string; it must be double" in answer["message"]
