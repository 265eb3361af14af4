"""Laws of model references: what is found, and what is said when it is not."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk

from heo_core.errors import ModelError, ServiceError
from heo_core.models import FOUNDATIONS, describe, is_installed, load, load_model, resolve_device, resolve_model
from heo_core.records import ModelFile


def test_importing_the_package_imports_no_torch():
    code = (
        "import sys, heo_core.models; sys.exit(any(name in sys.modules for name in ('torch', 'mace', 'chgnet', 'ase')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "mace-mp:huge",
        "mace-mp:medium-0b4",
        "mace-omat-0:large",
        "chgnet:0.2.0",
        "file:",
        "../heo-mini",
        "registry:",
    ],
)
def test_an_unknown_reference_is_answered_by_the_allowed_ones(reference):
    with pytest.raises(ModelError) as raised:
        resolve_model(reference)
    message = str(raised.value)
    assert repr(reference) in message
    for allowed in (
        "heo-mini",
        "mace-mp:small|medium|large|medium-0b3|medium-mpa-0",
        "mace-omat-0:small|medium",
        "mace-matpes:pbe|r2scan",
        "chgnet:0.3.0",
        "sevennet:7net-0",
        "file:PATH",
        "registry:NAME@VERSION",
    ):
        assert allowed in message


@pytest.mark.parametrize("reference", ["heo-maxi", "child@3", "registry:child@3", "registry:child", "mace-mp"])
def test_a_registered_model_without_a_database_is_an_error_that_names_what_needs_none(monkeypatch, tmp_path, reference):
    monkeypatch.setenv("HEO_HOME", str(tmp_path))
    monkeypatch.delenv("HEO_DATABASE_URL", raising=False)
    for use in (resolve_model, load):
        with pytest.raises(ServiceError) as raised:
            use(reference)
        for part in (repr(reference), "no database is known", "heo up", "heo-mini"):
            assert part in str(raised.value)


def test_every_foundation_says_its_licence_scale_and_source_and_is_known_to_mace_torch():
    from heo_core.models.mace import mace_mp_urls

    for reference, foundation in FOUNDATIONS.items():
        assert foundation.reference == reference
        assert foundation.licence
        assert foundation.citation
        assert foundation.mace_name is None or foundation.mace_name in mace_mp_urls
        assert (foundation.notice is not None) == reference.startswith(("mace-omat", "mace-matpes"))


def test_energies_of_other_functionals_and_pseudopotentials_are_on_other_scales():
    scales = {reference: foundation.energy_scale for reference, foundation in FOUNDATIONS.items()}
    assert scales["heo-mini"] == scales["mace-mp:medium"] == scales["mace-mp:medium-mpa-0"]
    others = ("mace-mp:medium", "mace-omat-0:medium", "mace-matpes:pbe", "mace-matpes:r2scan", "chgnet:0.3.0")
    assert len({scales[reference] for reference in others}) == len(others)


def test_loading_is_one_call_and_serves_ase_and_torch_sim():
    potential = load("heo-mini", device="cpu", dtype="float32")
    assert (potential.reference, potential.dtype, potential.device) == ("heo-mini", "float32", "cpu")
    assert potential.as_torch_sim_model().dtype == torch.float32
    atoms = bulk("MgO", "rocksalt", a=4.2)
    atoms.calc = potential.as_ase_calculator()
    assert np.isfinite(atoms.get_potential_energy())


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
    assert (model.licence, model.energy_scale) == ("MIT", "pbe-uncorrected")
    assert model.elements == bundled.elements


def test_chgnet_knows_94_elements_and_the_hash_of_its_weights():
    model = resolve_model("chgnet:0.3.0")
    assert len(model.elements) == 94
    assert (model.elements[0], model.elements[-1]) == ("H", "Pu")
    assert hashlib.sha256(Path(model.path).read_bytes()).hexdigest() == model.sha256
    facts = describe(model)
    assert facts["n_parameters"] == 412_525  # as its authors print it
    assert set(facts["e0s"]) == set(model.elements)
    assert model.energy_scale == "mp2020-corrected"


def test_a_device_is_cpu_or_cuda():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in {"cpu", "cuda"}
    with pytest.raises(ModelError, match="allowed: auto, cpu, cuda"):
        resolve_device("tpu")


def test_cuda_where_there_is_none_is_an_error():
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
    with pytest.raises(ModelError, match=r"nequip.*allowed: mace, chgnet, sevennet"):
        load_model(ModelFile("nequip", "oam", None, None), device="cpu")


def test_a_family_of_another_environment_is_refused_with_the_way_to_it():
    registered = ModelFile("sevennet", "sevennet:7net-0", "nowhere", "0" * 64)
    for use in (lambda: load("sevennet:7net-0"), lambda: load_model(registered), lambda: describe(registered)):
        with pytest.raises(ModelError, match=r"sevennet.*no package sevenn;.*make setup-sevennet.*heo up"):
            use()
    assert [is_installed(family) for family in ("mace", "chgnet", "sevennet", "nequip")] == [True, True, False, False]
