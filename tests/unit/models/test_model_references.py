"""Laws of model references: what is found, and what is said when it is not."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from heo_core.errors import ModelError
from heo_core.models import describe, load_model, resolve_device, resolve_model
from heo_core.records import ModelFile


def test_importing_the_package_imports_no_torch():
    code = (
        "import sys, heo_core.models; sys.exit(any(name in sys.modules for name in ('torch', 'mace', 'chgnet', 'ase')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "reference",
    ["", "heo-maxi", "mace-mp", "mace-mp:huge", "chgnet", "chgnet:0.2.0", "file:", "lemat-child@3", "../heo-mini"],
)
def test_an_unknown_reference_is_answered_by_the_allowed_ones(reference):
    with pytest.raises(ModelError) as raised:
        resolve_model(reference)
    message = str(raised.value)
    assert repr(reference) in message
    for allowed in ("heo-mini", "mace-mp:small|medium|large", "chgnet:0.3.0", "file:PATH", "NAME@VERSION"):
        assert allowed in message


def test_the_bundled_model_is_the_file_that_its_card_names():
    model = resolve_model("heo-mini")
    assert hashlib.sha256(Path(model.path).read_bytes()).hexdigest() == model.sha256
    assert describe(model)["elements"] == list(model.elements)
    assert {"Mg", "Ni", "Cu", "Co", "Zn", "O"} <= set(model.elements)


def test_mace_mp_without_network_names_the_file_and_the_folder_it_belongs_in(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):  # nothing listens there
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(ModelError) as raised:
        resolve_model("mace-mp:medium")
    assert "2023-12-03-mace-128-L1_epoch-199.model" in str(raised.value)
    assert str(tmp_path / "mace" / "20231203mace128L1_epoch199model") in str(raised.value)


def test_mace_mp_is_taken_from_maces_own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached = tmp_path / "mace" / "20231203mace128L1_epoch199model"
    cached.parent.mkdir()
    bundled = resolve_model("heo-mini")
    shutil.copy(bundled.path, cached)  # any MACE model does for this law
    model = resolve_model("mace-mp:medium")
    assert (model.reference, model.path, model.sha256) == ("mace-mp:medium", str(cached), bundled.sha256)
    assert model.licence == "MIT"
    assert model.elements == bundled.elements


def test_chgnet_knows_94_elements_and_the_hash_of_its_weights():
    model = resolve_model("chgnet:0.3.0")
    assert len(model.elements) == 94
    assert (model.elements[0], model.elements[-1]) == ("H", "Pu")
    assert hashlib.sha256(Path(model.path).read_bytes()).hexdigest() == model.sha256
    assert describe(model)["n_parameters"] == 412_525  # as its authors print it


def test_a_device_is_cpu_or_cuda():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in {"cpu", "cuda"}
    with pytest.raises(ModelError, match="allowed: auto, cpu, cuda"):
        resolve_device("tpu")


def test_cuda_where_there_is_none_is_an_error():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(ModelError, match="no CUDA device"):
        resolve_device("cuda")


def test_a_model_loads_only_with_the_hash_it_was_registered_with(tmp_path):
    bundled = resolve_model("heo-mini")
    changed = tmp_path / "changed.model"
    changed.write_bytes(Path(bundled.path).read_bytes() + b"\0")
    registered = ModelFile("mace", "child@1", str(changed), bundled.sha256, bundled.elements)
    for use in (lambda: load_model(registered, device="cpu"), lambda: describe(registered)):
        with pytest.raises(ModelError) as raised:
            use()
        assert bundled.sha256 in str(raised.value)
        assert hashlib.sha256(changed.read_bytes()).hexdigest() in str(raised.value)


def test_a_family_or_precision_that_is_not_there_is_named():
    bundled = resolve_model("heo-mini")
    with pytest.raises(ModelError, match=r"float16.*allowed: float32, float64"):
        load_model(bundled, device="cpu", dtype="float16")
    with pytest.raises(ModelError, match=r"sevennet.*allowed: mace, chgnet"):
        load_model(ModelFile("sevennet", "7net-0", None, None), device="cpu")
