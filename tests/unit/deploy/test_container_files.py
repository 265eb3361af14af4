"""What can be said of the container files without an engine: docs/docker.md says what this leaves open."""

import fnmatch
import re
import shutil
import subprocess

import pytest
import yaml
from container_files import (
    CHECKOUT,
    PLACEHOLDER,
    interpolate,
    list_image_environment,
    list_variables,
    load_compose,
    load_example,
    read_dockerfile,
)

from deploy.services.environment import server_environment, worker_environment
from deploy.services.workers import POOLS
from flows.settings import Settings

TEXT = (CHECKOUT / "docker-compose.yml").read_text()
SERVICES = load_compose()["services"]
RUNNING = {name: service for name, service in SERVICES.items() if service["restart"] != "no"}
SECRETS = list_variables(TEXT, "?")
KUBERNETES = sorted((CHECKOUT / "deploy" / "kubernetes").glob("*.yaml"))


def run_check(**values):
    command = ["sh", str(CHECKOUT / "deploy" / "check_env.sh"), *values]
    return subprocess.run(command, env=values, capture_output=True, text=True, check=False)


# Secrets


def test_every_secret_is_checked_before_anything_else_starts():
    command = SERVICES["check-env"]["command"].split()
    assert command[:2] == ["sh", "deploy/check_env.sh"]
    assert set(command[2:]) == SECRETS
    assert set(SERVICES["check-env"]["environment"]) == SECRETS

    def waits_for_the_check(name):
        return name == "check-env" or any(map(waits_for_the_check, SERVICES[name].get("depends_on", {})))

    assert all(map(waits_for_the_check, SERVICES))


def test_the_example_names_every_variable_and_chooses_no_secret():
    example = load_example()
    assert set(example) == SECRETS | list_variables(TEXT, "-") | {"COMPOSE_PROJECT_NAME"}
    assert {name for name, value in example.items() if value == PLACEHOLDER} == SECRETS


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "is empty"),
        (PLACEHOLDER, "is still the placeholder"),
        ("pass/word@host:1", "holds other signs than letters and digits"),
        ("short1", "is shorter than 12"),
    ],
)
def test_a_secret_that_nobody_chose_or_that_breaks_a_url_is_refused_by_name_and_not_shown(value, problem):
    result = run_check(GOOD="0123456789ab", BAD=value)
    assert result.returncode == 1
    assert result.stderr.startswith(f"BAD {problem}")
    assert "GOOD" not in result.stderr
    assert not value or value not in result.stderr.replace("placeholder", "")


def test_secrets_that_were_chosen_pass():
    result = run_check(ONE="0123456789ab", TWO="f" * 64)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_only_who_migrates_and_who_makes_the_roles_know_the_owners_password():
    def knows(secret):
        return {name for name, service in SERVICES.items() if secret in str(service.get("environment"))}

    assert knows("HEO_DB_PASSWORD") == {"check-env", "postgres", "bootstrap"}
    assert knows("POSTGRES_PASSWORD") == {"check-env", "postgres"}
    assert knows("PREFECT_DB_PASSWORD") == {"check-env", "postgres", "prefect-server"}
    assert knows("HEO_READER_PASSWORD") == {"check-env", "postgres"}
    assert "environment" not in SERVICES["reports"]


# Services


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_few_rights_and_bounds(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert not service.get("privileged")


@pytest.mark.parametrize("name", RUNNING)
def test_a_service_that_stays_says_how_it_is_and_has_time_to_stop(name):
    assert {"test", "interval", "timeout", "retries"} <= set(RUNNING[name]["healthcheck"])
    assert re.fullmatch(r"\d+s", RUNNING[name]["stop_grace_period"])


def test_everything_is_published_on_loopback_only():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_images_are_built_here_or_pinned_to_a_version():
    targets = {words[-1] for instruction, words in read_dockerfile() if instruction == "FROM"}
    for service in SERVICES.values():
        if "build" in service:
            assert service["image"] == f"heo:{service['build']['target']}"
            assert service["build"]["target"] in targets
        else:
            assert re.fullmatch(r"[a-z]+:\d+\.\d+", service["image"])
            assert service["user"] not in {"root", "0"}


def test_reports_are_read_only_where_they_are_served_and_linked_to_there():
    assert SERVICES["reports"]["volumes"] == ["reports:/reports:ro"]
    for name in ("worker-cpu", "worker-gpu"):
        assert "PUBLIC_REPORTS_URL" in SERVICES[name]["environment"]["HEO_REPORT_URL"]
        assert "reports:/reports" in SERVICES[name]["volumes"]
    assert list_image_environment("cpu")["HEO_REPORT_ROOT"] == "/reports"


def test_workers_take_as_many_runs_as_those_of_heo_up():
    limits = {pool.name: pool.limit for pool in POOLS}
    for name in ("worker-cpu", "worker-gpu"):
        words = SERVICES[name]["command"].split()
        assert int(words[words.index("--limit") + 1]) == limits[words[words.index("--pool") + 1]]


def test_texts_sort_as_in_the_bundled_postgres():
    bundled = (CHECKOUT / "deploy" / "services" / "postgres.py").read_text()
    arguments = SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()
    assert set(arguments) == set(re.findall(r'"(--(?:encoding|locale|locale-provider|builtin-locale)=[^"]+)"', bundled))


def test_workers_and_server_are_set_as_those_of_heo_up(tmp_path):
    settings, url = Settings(home=tmp_path), "http://127.0.0.1:4200"
    of_worker = {"PREFECT_HOME", "PREFECT_API_URL", "PREFECT_SERVER_ANALYTICS_ENABLED"}
    of_server = {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL",
        "PREFECT_SERVER_UI_API_URL",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY",
    }
    here = (
        ("worker-cpu", worker_environment(settings, "cpu", f"{url}/api", 1), "PREFECT_", of_worker),
        ("prefect-server", server_environment(settings, "postgresql+asyncpg://", url), "PREFECT_SERVER_", of_server),
    )
    for service, environment, prefix, own in here:
        expected = {name: value for name, value in environment.items() if name.startswith(prefix) and name not in own}
        in_container = list_image_environment("cpu") | SERVICES[service]["environment"]
        assert len(expected) > 2
        assert {name: in_container.get(name) for name in expected} == expected


def test_the_script_that_is_mounted_is_there_and_can_be_run():
    mounts = [volume for service in SERVICES.values() for volume in service.get("volumes", []) if volume[0] == "."]
    assert mounts == ["./deploy/initdb.sh:/docker-entrypoint-initdb.d/heo.sh:ro"]
    assert (CHECKOUT / "deploy" / "initdb.sh").stat().st_mode & 0o111


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose (Debian's package) is not installed")
@pytest.mark.parametrize("missing", [None, "PREFECT_PASSWORD"])
def test_compose_accepts_the_file_and_refuses_an_empty_secret_by_name(tmp_path, missing):
    values = {**load_example(), **dict.fromkeys(SECRETS, "0123456789ab")}
    if missing is not None:
        values[missing] = ""
    (tmp_path / "env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    files = ["--env-file", str(tmp_path / "env"), "--file", str(CHECKOUT / "docker-compose.yml")]
    result = subprocess.run(
        ["docker-compose", *files, "config"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    if missing is not None:
        assert result.returncode != 0
        assert f"choose {missing} in .env" in result.stderr
        return
    assert result.returncode == 0, result.stderr
    understood = yaml.safe_load(result.stdout)["services"]
    assert set(understood) == set(SERVICES)
    for name, service in understood.items():
        ours = interpolate(SERVICES[name].get("environment", {}), values)
        assert service.get("environment", {}) == ours, "tests/container_files.py reads the file in another way"


# Images


def test_bases_are_earlier_stages_or_pinned_to_a_version():
    stages = set()
    for instruction, words in read_dockerfile():
        if instruction == "FROM":
            assert words[0] in stages or re.fullmatch(r"python:\d+\.\d+\.\d+(-slim)?-[a-z]+", words[0]), words
            assert words[1] == "AS"
            stages.add(words[2])
    assert {"cpu", "gpu"} <= stages


def test_the_images_run_as_an_ordinary_user_by_number():
    users = [words for instruction, words in read_dockerfile() if instruction == "USER"]
    assert users == [["1000:1000"]]
    bases = {words[2]: words[0] for instruction, words in read_dockerfile() if instruction == "FROM"}
    assert bases["cpu"] == bases["gpu"] == "base"


def test_no_secret_is_in_an_image():
    for instruction, words in read_dockerfile():
        assert instruction != "ADD"
        if instruction in {"ENV", "ARG"}:
            assert not re.search(r"PASSWORD|SECRET|TOKEN|AUTH|KEY", " ".join(words), flags=re.IGNORECASE)
    assert not ({".env", ".git", ".heo"} & set(_sent_to_the_build()))


def test_everything_that_is_copied_is_there_and_sent_to_the_build():
    sent = _sent_to_the_build()
    for instruction, words in read_dockerfile():
        if instruction == "COPY" and not words[0].startswith("--from"):
            for source in words[:-1]:
                assert (CHECKOUT / source).exists(), source
                assert source.split("/")[0] in sent


def _sent_to_the_build():
    """Names at the top of the checkout that .dockerignore lets through."""
    lines = (CHECKOUT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    names = {path.name for path in CHECKOUT.iterdir()} | {".env", ".git", ".heo"}
    return {name for name in names if any(fnmatch.fnmatch(name, p[1:]) for p in patterns if p.startswith("!"))}


def test_packages_are_the_pinned_ones_and_leave_no_cache():
    installs = [" ".join(words) for instruction, words in read_dockerfile() if instruction == "RUN"]
    for install in installs:
        assert "pip install" not in install or "--constraint constraints.txt" in install
        assert "apt-get install" not in install or (
            "--no-install-recommends" in install and "rm -rf /var/lib/apt/lists/*" in install
        )
    assert ("ENV", "PIP_NO_CACHE_DIR=1") in {(i, word) for i, words in read_dockerfile() for word in words}


# Kubernetes


def test_kubernetes_files_name_our_image_a_secret_and_an_ordinary_user():
    assert [path.name for path in KUBERNETES] == ["bootstrap.yaml", "prefect-server.yaml", "prefect-worker.yaml"]
    for path in KUBERNETES:
        text = path.read_text()
        assert list(yaml.safe_load_all(text))
        assert "latest" not in text
        assert "heo-prefect-auth" in text
        assert not re.search(r"(?i)password:\s*\S|auth-?string:\s*\S", text)
    pinned = re.search(r"^prefect==(.+)$", (CHECKOUT / "constraints.txt").read_text(), flags=re.MULTILINE)[1]
    server = yaml.safe_load((CHECKOUT / "deploy" / "kubernetes" / "prefect-server.yaml").read_text())
    assert server["global"]["prefect"]["image"]["prefectTag"] == f"{pinned}-python3.12"
    for name in ("bootstrap", "prefect-worker"):
        text = (CHECKOUT / "deploy" / "kubernetes" / f"{name}.yaml").read_text()
        assert {int(uid) for uid in re.findall(r"runAsUser: (\d+)", text)} == {1000}
