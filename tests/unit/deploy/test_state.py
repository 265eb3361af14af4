import stat

import pytest
from filelock import FileLock

from deploy.services.state import LOCK_FILE, ServicesState, WorkerState, load_state, save_state, services_lock
from heo_core.errors import ServiceError


def test_state_comes_back_as_it_was_saved(tmp_path):
    state = ServicesState(definition="abc")
    state.postgres.port = 5442
    state.workers["cpu"] = WorkerState(pid=1, create_time=2.5)
    save_state(tmp_path, state)
    assert load_state(tmp_path) == state


def test_the_file_holds_passwords_so_only_its_owner_reads_it(tmp_path):
    save_state(tmp_path, ServicesState())
    assert stat.S_IMODE((tmp_path / "services.json").stat().st_mode) == 0o600


def test_saving_leaves_no_temporary_file(tmp_path):
    save_state(tmp_path, ServicesState())
    assert [path.name for path in tmp_path.iterdir()] == ["services.json"]


@pytest.mark.parametrize("content", ["", "{", '{"postgres": 3}', "[]"])
def test_a_damaged_file_counts_as_none(tmp_path, content):
    (tmp_path / "services.json").write_text(content)
    assert load_state(tmp_path) == ServicesState()


def test_a_second_command_waits_for_the_lock_and_then_gives_up(tmp_path):
    with (
        FileLock(tmp_path / LOCK_FILE),
        pytest.raises(ServiceError, match="another heo command"),
        services_lock(tmp_path, patience_s=0.1),
    ):
        pass
