"""Laws of downloads, against a real server on loopback that cuts, ignores Range, changes its file or has none."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from heo_core.errors import ModelError
from heo_core.models import download as download_module
from heo_core.models.download import download


def make_archive(seed):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("model/data.pkl", np.random.default_rng(seed).bytes(300_000))
    return content.getvalue()


class Server(ThreadingHTTPServer):
    """Serves `content`; every answer breaks off after `cut_after` bytes. Counts what it was asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = make_archive(0)
        self.cut_after = None
        self.delay_s = 0.0
        self.serves_parts = True
        self.names_versions = True
        self.status = 200
        self.content_type = "application/octet-stream"
        self.asked = []
        self.sent_bytes = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/path/mace model-1.model"

    def handle_error(self, *_):
        """Clients that go away are what these tests are about."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, content = self.server, self.server.content
        asked = self.headers.get("Range")
        server.asked.append(asked)
        tag = f'"{hash(content)}"'
        first = 0
        if asked and server.serves_parts and self.headers.get("If-Range") in {None, tag}:
            first = int(asked.removeprefix("bytes=").rstrip("-"))
            if first >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(server.status)
        if server.names_versions:
            self.send_header("ETag", tag)
        self.send_header("Content-Type", server.content_type)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        body = content[first:]
        if server.cut_after is not None:
            body = body[: server.cut_after]
        for start in range(0, len(body), 10_000):
            time.sleep(server.delay_s)
            piece = body[start : start + 10_000]
            self.wfile.write(piece)
            server.sent_bytes += len(piece)

    def log_message(self, *_):
        """Be quiet."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download_module, "_PAUSE_S", 0.01)
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "model"


def list_names(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_a_file_arrives_whole_and_leaves_nothing_else(server, target):
    said = []
    download(server.url, target, said.append)
    assert target.read_bytes() == server.content
    assert list_names(target.parent) == ["model"]
    assert server.url in said[0]
    assert server.asked == [None]


def test_a_file_that_is_there_is_not_asked_for(server, target):
    target.parent.mkdir()
    target.write_bytes(b"here")
    download(server.url, target)
    assert server.asked == []


def test_a_cut_stream_goes_on_where_it_stopped_and_no_byte_comes_twice(server, target):
    server.cut_after = 100_000
    download(server.url, target, lambda _: None)
    assert target.read_bytes() == server.content
    assert len(server.asked) == 4
    assert all(asked.startswith("bytes=") for asked in server.asked[1:])
    assert server.sent_bytes == len(server.content)


def test_an_interrupted_process_is_continued_by_the_next(server, target):
    server.delay_s = 0.02
    code = (
        "import pathlib, sys; from heo_core.models.download import download; "
        "download(sys.argv[1], pathlib.Path(sys.argv[2]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, server.url, str(target)])
    part = target.with_name("model.part")
    try:
        deadline = time.monotonic() + 30
        while not (part.exists() and part.stat().st_size >= 50_000):
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    assert not target.exists()
    kept = part.stat().st_size
    server.asked.clear()
    download(server.url, target, lambda _: None)
    assert server.asked == [f"bytes={kept}-"]
    assert target.read_bytes() == server.content
    assert list_names(target.parent) == ["model"]


def test_a_process_killed_before_the_last_step_only_takes_that_step(server, target):
    target.parent.mkdir()
    target.with_name("model.part").write_bytes(server.content)
    target.with_name("model.part.version").write_text(f'"{hash(server.content)}"')
    download(server.url, target, lambda _: None)
    assert target.read_bytes() == server.content
    assert server.sent_bytes == 0


@pytest.mark.parametrize("names_versions", [True, False])
def test_a_server_that_ignores_range_sends_all_again(server, target, names_versions):
    server.serves_parts, server.names_versions = False, names_versions
    target.parent.mkdir()
    target.with_name("model.part").write_bytes(server.content[:1000])
    target.with_name("model.part.version").write_text(f'"{hash(server.content)}"')
    download(server.url, target, lambda _: None)
    assert target.read_bytes() == server.content


def test_a_part_of_an_older_file_is_never_joined_to_a_newer_one(server, target):
    target.parent.mkdir()
    target.with_name("model.part").write_bytes(server.content[:1000])
    target.with_name("model.part.version").write_text(f'"{hash(server.content)}"')
    server.content = make_archive(1)
    download(server.url, target, lambda _: None)
    assert target.read_bytes() == server.content


def test_a_part_of_unknown_version_is_not_continued(server, target):
    target.parent.mkdir()
    target.with_name("model.part").write_bytes(b"x" * 1000)
    download(server.url, target, lambda _: None)
    assert server.asked == [None]
    assert target.read_bytes() == server.content


def test_a_server_that_always_cuts_at_the_same_byte_ends_with_an_error(server, target):
    server.serves_parts, server.cut_after = False, 100_000
    with pytest.raises(ModelError, match=r"100000 bytes are kept"):
        download(server.url, target, lambda _: None)
    assert 3 <= len(server.asked) <= 5
    assert not target.exists()


def test_a_file_that_is_not_there_is_said_at_once(server, target):
    server.status = 404
    with pytest.raises(ModelError, match="answers 404 Not Found"):
        download(server.url, target, lambda _: None)
    assert len(server.asked) == 1
    assert not target.exists()


def test_a_server_in_trouble_is_asked_again(server, target):
    server.status = 503
    with pytest.raises(ModelError, match="answers 503"):
        download(server.url, target, lambda _: None)
    assert len(server.asked) == 3


def test_a_web_page_is_no_model(server, target):
    server.content, server.content_type = b"<html>log in first</html>", "text/html; charset=utf-8"
    with pytest.raises(ModelError, match="web page"):
        download(server.url, target, lambda _: None)
    assert list_names(target.parent) == []


def test_what_is_no_archive_is_no_model_whatever_it_is_called(server, target):
    server.content = b"<html>log in first</html>"
    with pytest.raises(ModelError, match="begins with b'<html>"):
        download(server.url, target, lambda _: None)
    assert list_names(target.parent) == []


def test_two_at_once_download_once(server, target):
    server.delay_s = 0.01
    said = []
    threads = [threading.Thread(target=download, args=(server.url, target, said.append)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() == server.content
    assert len(server.asked) == 1
    assert any("another process is downloading" in line for line in said)


def test_where_nothing_listens_the_reason_is_said(target, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download_module, "_PAUSE_S", 0.01)
    with pytest.raises(ModelError, match="ConnectError"):
        download("http://127.0.0.1:9/x.model", target, lambda _: None)


@pytest.fixture
def mace_url(server, monkeypatch, tmp_path):
    """MACE's own address of medium-omat-0, pointed at the server, which serves heo-mini for it."""
    from heo_core.models import mace, resolve_model

    bundled = resolve_model("heo-mini")
    server.content = Path(bundled.path).read_bytes()
    monkeypatch.setitem(mace.mace_mp_urls, "medium-omat-0", server.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return server.url


def test_a_foundation_is_downloaded_in_pieces_to_where_maces_own_loader_finds_it(server, mace_url, tmp_path):
    from mace.calculators.foundations_models import download_mace_mp_checkpoint

    from heo_core.models import resolve_model

    server.cut_after = len(server.content) // 3
    said = []
    model = resolve_model("mace-omat-0:medium", tell=said.append)
    assert model.path == str(tmp_path / "mace" / "macemodel1model") == download_mace_mp_checkpoint("medium-omat-0")
    assert Path(model.path).read_bytes() == server.content
    assert (model.reference, model.licence) == ("mace-omat-0:medium", "ASL (academic, non-commercial)")
    assert model.energy_scale == "pbe-omat24"
    n_asked = len(server.asked)
    assert resolve_model("mace-omat-0:medium", tell=said.append) == model
    assert len(server.asked) == n_asked
    # The terms are said before anything is fetched, and each time.
    assert "academic, non-commercial use only" in said[0]
    assert sum("academic, non-commercial use only" in line for line in said) == 2
    assert "licence" in said[1]


def test_other_bytes_than_those_registered_are_refused_before_anything_in_them_is_read(server, mace_url, tmp_path):
    from heo_core.models import resolve_model

    model = resolve_model("mace-omat-0:medium", tell=lambda _: None)
    Path(model.path).write_bytes(b"anything")
    with pytest.raises(ModelError) as raised:
        resolve_model("mace-omat-0:medium", sha256=model.sha256, tell=lambda _: None)
    message = str(raised.value)
    assert model.sha256 in message
    assert hashlib.sha256(b"anything").hexdigest() in message
    assert f"heo models add {model.path} --name NAME" in message
    assert "is not a MACE model" not in message


def test_a_download_that_fails_names_the_file_and_its_place(server, mace_url, tmp_path):
    from heo_core.models import resolve_model

    server.status = 404
    with pytest.raises(ModelError) as raised:
        resolve_model("mace-omat-0:medium", tell=lambda _: None)
    message = str(raised.value)
    assert "\n" not in message
    for part in (
        "mace-omat-0:medium",
        "404",
        "mace model-1.model",
        mace_url,
        str(tmp_path / "mace" / "macemodel1model"),
    ):
        assert part in message
