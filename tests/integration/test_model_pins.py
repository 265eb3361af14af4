"""Laws of model references with a real database: what a reference meant once, and loading by NAME@VERSION."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from db import models
from db.engine import session_scope
from flows.registry import load_model_file, register_model
from flows.settings import Settings
from heo_core.artifacts import compute_sha256
from heo_core.errors import InputError, ModelError
from heo_core.models import load, resolve_model
from heo_core.models import mace as mace_family

REFERENCE = "mace-matpes:r2scan"


@pytest.fixture
def settings(tmp_path, database_url, monkeypatch):
    monkeypatch.setenv("HEO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HEO_DATABASE_URL", database_url)
    monkeypatch.delenv("HEO_ARTIFACT_STORE", raising=False)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return Settings()


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Where MACE's loader looks for the model; its address is served on loopback with the bytes of heo-mini."""
    content = Path(resolve_model("heo-mini").path).read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/r2scan.model"
        monkeypatch.setitem(mace_family.mace_mp_urls, "mace-matpes-r2scan-0", url)
        yield tmp_path / "cache" / "mace" / "r2scanmodel"
        server.shutdown()


def make_other_model(path):
    """Another MACE model: heo-mini with one weight changed."""
    module = mace_family.load_module(resolve_model("heo-mini"), "cpu")
    with torch.no_grad():
        next(module.readouts.parameters()).mul_(2)
    torch.save(module, path)


def test_a_reference_is_registered_with_the_facts_of_its_file(settings, cached, capsys):
    model_version_id = register_model(REFERENCE, settings)
    with session_scope(settings.resolve_database_url()) as session:
        row = models.get_model(session, model_version_id)
    assert (row.name, row.version, row.reference) == ("mace-matpes-r2scan", 1, REFERENCE)
    assert (row.licence, row.energy_scale) == ("ASL (academic, non-commercial)", "r2scan-matpes")
    assert (row.dtype, row.r_max_ang, set(row.e0s)) == ("float32", 4.5, set(row.elements))
    assert row.artifact_uri.startswith("file://")
    assert row.sha256 == compute_sha256(cached)
    said = capsys.readouterr().err
    assert said.index("academic, non-commercial use only") < said.index("downloading")


def test_a_reference_that_resolves_to_other_bytes_is_an_error_until_they_have_a_name_of_their_own(settings, cached):
    first = register_model(REFERENCE, settings)
    pinned = compute_sha256(cached)
    make_other_model(cached)
    with pytest.raises(ModelError) as raised:
        register_model(REFERENCE, settings)
    for part in (REFERENCE, pinned, compute_sha256(cached), "heo models add"):
        assert part in str(raised.value)
    other = register_model(f"file:{cached}", settings, name="r2scan-anew")
    assert other != first
    cached.unlink()
    assert register_model(REFERENCE, settings) == first


def test_a_reference_whose_download_is_gone_is_served_from_the_artifact_store(settings, cached, monkeypatch):
    first = register_model(REFERENCE, settings)
    cached.unlink()
    monkeypatch.setitem(mace_family.mace_mp_urls, "mace-matpes-r2scan-0", "http://127.0.0.1:9/r2scan.model")
    assert register_model(REFERENCE, settings) == first
    assert not cached.exists()
    assert load(load_model_file(first, settings), device="cpu").energy_scale == "r2scan-matpes"


def test_a_registered_model_is_loaded_by_its_name_and_only_with_its_bytes(settings):
    register_model("heo-mini", settings)
    for reference in ("registry:heo-mini@1", "registry:heo-mini", "heo-mini@1"):
        potential = load(reference, device="cpu", dtype="float32")
        assert potential.energy_scale == "pbe-uncorrected"
        assert potential.as_torch_sim_model() is not None
    with pytest.raises(InputError, match="'nobody@3'; there is: heo-mini@1"):
        load("registry:nobody@3")
    (stored,) = settings.artifacts.cache.parent.parent.glob("artifacts/*/*.model")
    stored.write_bytes(stored.read_bytes() + b"\0")
    with pytest.raises(ModelError, match="has changed") as raised:
        load("heo-mini@1")
    assert compute_sha256(stored) in str(raised.value)
    assert resolve_model("heo-mini").sha256 in str(raised.value)
