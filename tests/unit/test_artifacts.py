"""Laws of the artifact store, in a folder and in a bucket of a real S3 server (moto's, on loopback)."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from flows.settings import Settings
from heo_core.artifacts import ArtifactStore, compute_sha256, normalize_store_uri
from heo_core.errors import InputError, ModelError, ServiceError

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def s3_server():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """File system of an empty server with the bucket `models`, where the environment points."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "very-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    httpx.post(f"{s3_server}/moto-api/reset", trust_env=False)
    import fsspec

    files = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
    files.mkdir("models")
    return files


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "child of naïve #1.model"
    path.write_bytes(CONTENT)
    return path


def make_store(tmp_path, uri):
    return ArtifactStore(normalize_store_uri(uri), cache=tmp_path / "cache")


def list_files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_folder_holds_each_content_once_under_its_hash(tmp_path, file):
    store = make_store(tmp_path, tmp_path / "my store")
    stored = store.put(file)
    other = tmp_path / "other.model"
    other.write_bytes(CONTENT)
    assert store.put(other) == stored
    (path,) = list_files(tmp_path / "my store")
    assert (path.name, path.parent.name) == (f"{SHA256}.model", SHA256[:2])
    assert (stored.uri, stored.sha256, stored.size_bytes) == (path.as_uri(), SHA256, len(CONTENT))
    assert store.fetch(stored.uri, SHA256) == path
    assert not (tmp_path / "cache").exists()


def test_a_plain_path_of_an_older_row_is_still_read(tmp_path, file):
    assert make_store(tmp_path, "s3://models").fetch(str(file), SHA256) == file


def test_a_changed_file_is_refused_with_both_hashes_and_restored_by_storing_it_again(tmp_path, file):
    store = make_store(tmp_path, tmp_path / "store")
    stored = store.put(file)
    (path,) = list_files(tmp_path / "store")
    path.write_bytes(b"wEights")
    with pytest.raises(ModelError) as raised:
        store.fetch(stored.uri, SHA256)
    assert SHA256 in str(raised.value)
    assert compute_sha256(path) in str(raised.value)
    store.put(file)
    assert store.fetch(stored.uri, SHA256).read_bytes() == CONTENT


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"gone\.model cannot be read: No such file"):
        make_store(tmp_path, tmp_path).fetch((tmp_path / "gone.model").as_uri(), SHA256)


def test_files_of_a_folder_are_listed_and_removed(tmp_path, file):
    store = ArtifactStore(normalize_store_uri(tmp_path / "store"), tmp_path / "cache")
    assert store.list_files() == []
    artifact = store.put(file)
    (listed,) = store.list_files()
    assert (listed.uri, listed.size_bytes) == (artifact.uri, len(CONTENT))
    assert datetime.now(UTC) - listed.written_at < timedelta(minutes=1)
    for _ in range(2):
        store.remove(artifact.uri)
    assert store.list_files() == []


def test_a_copy_that_breaks_off_leaves_nothing(tmp_path, file, monkeypatch):
    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("heo_core.artifacts.shutil.copyfileobj", fail)
    with pytest.raises(OSError, match="No space left"):
        make_store(tmp_path, tmp_path / "store").put(file)
    assert list_files(tmp_path / "store") == []


def test_a_process_killed_while_it_stores_leaves_no_file_under_a_final_name(tmp_path, file):
    code = (
        "import heo_core.artifacts as a, os, pathlib, shutil\n"
        "def half(source, target):\n"
        "    target.write(source.read(3)); target.flush(); os.kill(os.getpid(), 9)\n"
        "a.shutil.copyfileobj = half\n"
        f"a.ArtifactStore({(tmp_path / 'store').as_uri()!r}, pathlib.Path('cache')).put(pathlib.Path({str(file)!r}))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    store = make_store(tmp_path, tmp_path / "store")
    assert [path.name[:9] for path in list_files(tmp_path / "store")] == [".partial-"]
    assert store.fetch(store.put(file).uri, SHA256).read_bytes() == CONTENT


def test_a_bucket_holds_each_content_once_under_its_hash(tmp_path, file, s3):
    store = make_store(tmp_path, "s3://models/heo/")
    stored = store.put(file)
    assert stored.uri == f"s3://models/heo/{SHA256[:2]}/{SHA256}.model"
    assert store.put(file) == stored
    assert s3.find("models") == [stored.uri.removeprefix("s3://")]
    assert s3.cat_file(stored.uri) == CONTENT


def test_a_file_of_a_bucket_is_fetched_once_and_checked_each_time(tmp_path, file, s3):
    uri = make_store(tmp_path, "s3://models").put(file).uri
    elsewhere = ArtifactStore("s3://models", cache=tmp_path / "another machine")
    path = elsewhere.fetch(uri, SHA256)
    assert path.read_bytes() == CONTENT
    elsewhere.check(uri, SHA256)
    s3.pipe_file(uri, b"wEights")
    with pytest.raises(ModelError, match="has changed"):
        elsewhere.check(uri, SHA256)
    s3.rm(uri)
    with pytest.raises(ModelError, match="is not there"):
        elsewhere.check(uri, SHA256)
    assert elsewhere.fetch(uri, SHA256) == path  # from the cache
    path.write_bytes(b"wEights")
    with pytest.raises(ModelError, match="is not there"):  # a damaged copy is never handed out
        elsewhere.fetch(uri, SHA256)


def test_files_of_a_bucket_are_listed_and_removed_here_and_there(tmp_path, file, s3):
    store = ArtifactStore("s3://models/heo", tmp_path / "cache")
    assert store.list_files() == []
    artifact = store.put(file)
    (listed,) = store.list_files()
    assert (listed.uri, listed.size_bytes) == (artifact.uri, len(CONTENT))
    assert abs(datetime.now(UTC) - listed.written_at) < timedelta(minutes=1)
    for _ in range(2):
        store.remove(artifact.uri)
    assert store.list_files() == []
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_damaged_copy_in_the_cache_is_fetched_again(tmp_path, file, s3):
    store = make_store(tmp_path, "s3://models")
    uri = store.put(file).uri
    store.fetch(uri, SHA256).write_bytes(b"wEights")
    assert store.fetch(uri, SHA256).read_bytes() == CONTENT


def test_a_changed_object_is_refused_with_both_hashes_and_never_cached(tmp_path, file, s3):
    uri = make_store(tmp_path, "s3://models").put(file).uri
    s3.pipe_file(uri, b"wEights")
    elsewhere = ArtifactStore("s3://models", cache=tmp_path / "another machine")
    with pytest.raises(ModelError) as raised:
        elsewhere.fetch(uri, SHA256)
    assert SHA256 in str(raised.value)
    assert hashlib.sha256(b"wEights").hexdigest() in str(raised.value)
    assert list_files(tmp_path / "another machine") == []


@pytest.mark.parametrize("damaged", [CONTENT[:3], b"wEights"])
def test_an_object_is_written_anew_when_the_file_is_stored_again(tmp_path, file, s3, damaged):
    store = make_store(tmp_path, "s3://models")
    uri = store.put(file).uri
    s3.pipe_file(uri, damaged)
    store.put(file)
    assert s3.cat_file(uri) == CONTENT


def test_a_bucket_that_is_not_there_is_named(tmp_path, file, s3):
    with pytest.raises(ServiceError, match=r"no place for s3://nobodys/.*bucket does not exist"):
        make_store(tmp_path, "s3://nobodys/x").put(file)


def test_a_store_that_refuses_says_so_without_telling_the_secret(tmp_path, file, s3, s3_server):
    httpx.post(f"{s3_server}/moto-api/reset-auth", content=b"0", trust_env=False)  # from now on, keys are checked
    try:
        with pytest.raises(ServiceError, match=r"refuses s3://models/.*credentials") as raised:
            make_store(tmp_path, "s3://models").put(file)
        assert "very-secret" not in str(raised.value)
        with pytest.raises(ServiceError, match="refuses"):
            make_store(tmp_path, "s3://models").fetch("s3://models/ab/abc.model", SHA256)
    finally:
        httpx.post(f"{s3_server}/moto-api/reset-auth", content=b"inf", trust_env=False)


def test_a_store_that_does_not_answer_is_an_error_of_the_service(tmp_path, file, s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(ServiceError, match=r"cannot be reached for s3://models/.*AWS_ENDPOINT_URL"):
        make_store(tmp_path, "s3://models").put(file)


def test_without_the_extra_the_error_says_how_to_install_it(tmp_path, file):
    code = (
        "import sys; sys.modules['s3fs'] = None\n"
        "import pathlib\n"
        "from heo_core.artifacts import ArtifactStore\n"
        "from heo_core.errors import InputError\n"
        "try:\n"
        f"    ArtifactStore('s3://models', pathlib.Path({str(tmp_path)!r})).put(pathlib.Path({str(file)!r}))\n"
        "except InputError as exc:\n"
        "    print(exc)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'heo[s3]'" in said


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("file:///a%20b", "file:///a%20b"),
        ("/a b", "file:///a%20b"),
    ],
)
def test_a_store_is_a_folder_or_a_uri(given, uri):
    assert normalize_store_uri(given) == uri


def test_a_relative_folder_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert normalize_store_uri("models") == (tmp_path / "models").as_uri()


@pytest.mark.parametrize("given", ["gs://bucket", "http://host/x", "s3://", "s3:///x", "s3://bucket/x?versionId=1"])
def test_another_kind_of_store_is_refused_with_what_is_allowed(given):
    with pytest.raises(InputError, match=r"allowed: a folder, file:///FOLDER or s3://BUCKET/PREFIX"):
        normalize_store_uri(given)


def test_credentials_in_the_uri_are_refused_and_not_repeated(monkeypatch):
    monkeypatch.setenv("HEO_ARTIFACT_STORE", "s3://key:very-secret@bucket/x")
    with pytest.raises(InputError, match="credentials") as raised:
        Settings()
    assert "very-secret" not in str(raised.value)


def test_the_default_store_is_a_folder_of_the_home(tmp_path, monkeypatch):
    monkeypatch.delenv("HEO_ARTIFACT_STORE", raising=False)
    settings = Settings(home=tmp_path)
    assert settings.artifacts.uri == (tmp_path / "artifacts").as_uri()
    assert Path(settings.artifacts.cache).is_relative_to(tmp_path)
