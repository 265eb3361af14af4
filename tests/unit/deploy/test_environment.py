import pytest

from deploy.services.bootstrap import SILENCE_S
from deploy.services.environment import (
    prefect_environment,
    server_environment,
    service_environment,
    worker_digest,
    worker_environment,
)
from flows.settings import Settings


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name in ("HEO_HOME", "HEO_DATABASE_URL", "HEO_ARTIFACT_STORE", "HEO_REPORT_ROOT", "HEO_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    return Settings(home=tmp_path / "home")


def test_a_users_own_prefect_does_not_leak_into_the_services(settings, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "https://api.prefect.cloud/api")
    monkeypatch.setenv("PREFECT_API_KEY", "secret")
    monkeypatch.setenv("PREFECT_PROFILE", "cloud")
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "1")
    environment = service_environment(settings, "server")
    assert not {"PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE", "PREFECT__FLOW_RUN_ID"} & set(environment)


def test_a_users_logging_level_is_kept(settings, monkeypatch):
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
    assert service_environment(settings, "server")["PREFECT_LOGGING_LEVEL"] == "DEBUG"


def test_every_service_is_marked_with_home_and_name(settings):
    environment = service_environment(settings, "server")
    assert environment["HEO_SERVICE_HOME"] == str(settings.home.resolve())
    assert environment["HEO_SERVICE"] == "server"


def test_relative_folders_become_absolute_for_services_run_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEO_HOME", "here")
    monkeypatch.setenv("HEO_ARTIFACT_STORE", "models")
    environment = service_environment(Settings(), "server")
    assert environment["HEO_HOME"] == str(tmp_path / "here")
    assert environment["HEO_ARTIFACT_STORE"] == (tmp_path / "models").as_uri()


def test_loopback_is_reached_without_the_users_proxy(settings, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "intern.example")
    assert service_environment(settings, "server")["NO_PROXY"] == "intern.example,127.0.0.1,localhost"


def test_nothing_is_reported_to_anybody(settings):
    environment = prefect_environment(settings)
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environment["DO_NOT_TRACK"] == "1"


def test_the_ui_asks_the_port_that_was_chosen(settings):
    environment = server_environment(settings, "postgresql+asyncpg://x", "http://127.0.0.1:4321")
    assert environment["PREFECT_SERVER_UI_API_URL"] == "http://127.0.0.1:4321/api"


def test_a_workers_digest_changes_with_what_it_depends_on_and_with_nothing_else(settings, monkeypatch):
    url = "http://127.0.0.1:4200/api"
    digest = worker_digest(worker_environment(settings, "cpu", url, 1))
    monkeypatch.setenv("SOMETHING", "else")
    assert worker_digest(worker_environment(settings, "cpu", url, 1)) == digest
    assert worker_digest(worker_environment(settings, "cpu", url.replace("4200", "4201"), 1)) != digest
    own = settings.model_copy(update={"database_url": "postgresql://u:p@h/d"})
    assert worker_digest(worker_environment(own, "cpu", url, 1)) != digest


def test_a_worker_of_a_gpu_sees_no_other(settings, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    first, second, alone = (
        worker_environment(settings, "gpu", "http://127.0.0.1:4200/api", 1, gpu=gpu) for gpu in ("2", "5", None)
    )
    assert [each["CUDA_VISIBLE_DEVICES"] for each in (first, second, alone)] == ["2", "5", "2,5"]
    assert len({worker_digest(each) for each in (first, second, alone)}) == 3


def test_every_flow_beats_three_times_before_it_counts_as_crashed(settings):
    # Flows of `heo run` too, which no worker starts.
    assert 3 * int(prefect_environment(settings)["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) <= SILENCE_S
