from pathlib import Path

import pytest

from flows.admission import MAX_STARTS, admit, confine, count_starts, limit
from flows.settings import CHECKOUT, FLOW_RUN_MARK, Settings
from heo_core.errors import HeoError, InputError
from heo_core.params import (
    CurationParams,
    EvaluationParams,
    FinetuneParams,
    GenerationParams,
    PipelineParams,
    RelaxJobParams,
    SubstitutionRelaxParams,
    SweepParams,
)

OUTSIDE = "/etc/hostname"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, and a run that the server has started."""
    monkeypatch.setenv("HEO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HEO_ALLOWED_ROOTS", raising=False)
    monkeypatch.setenv(FLOW_RUN_MARK, "of a test")
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("params", "field"),
    [
        (CurationParams(source=OUTSIDE), "source"),
        (FinetuneParams(foundation=f"file:{OUTSIDE}"), "foundation"),
        (EvaluationParams(models=("heo-mini", f"file:{OUTSIDE}")), "models"),
        (
            EvaluationParams(substitution_relax=SubstitutionRelaxParams(reference=f"file:{OUTSIDE}")),
            "substitution_relax.reference",
        ),
        (SweepParams(space={"foundation": ["heo-mini", f"file:{OUTSIDE}"]}), "space.foundation"),
        (GenerationParams(parent=OUTSIDE), "parent"),
        (RelaxJobParams(files=(OUTSIDE,)), "files"),
        (RelaxJobParams(out="/etc"), "out"),
        (RelaxJobParams(generation=GenerationParams(parent="~/x.cif")), "generation.parent"),
        (PipelineParams(curation=CurationParams(source="../../../etc")), "curation.source"),
    ],
)
def test_a_path_outside_the_roots_is_refused_wherever_it_stands(params, field, home, monkeypatch):
    monkeypatch.setenv("HOME", "/root")
    with pytest.raises(InputError) as refusal:
        admit(params)
    assert str(refusal.value).startswith(f"{field}=")
    assert str(home) in str(refusal.value)
    assert "HEO_ALLOWED_ROOTS" in str(refusal.value)


def test_the_reference_of_a_model_is_confined_as_a_field_is(home):
    admit(model="heo-mini")
    with pytest.raises(InputError, match=f"^model='{OUTSIDE}' leads to"):
        admit(model=f"file:{OUTSIDE}")


def test_a_refusal_names_each_root_once(home, monkeypatch):
    monkeypatch.chdir(CHECKOUT)
    with pytest.raises(InputError, match=f"allowed: within {home}, {CHECKOUT}, or what"):
        admit(CurationParams(source=OUTSIDE))


def test_what_lies_within_a_root_is_admitted_and_so_are_names_that_are_no_paths(home):
    admit(PipelineParams(), CurationParams(source="hub"), RelaxJobParams(files=(str(home / "a.cif"),), out=str(home)))
    admit(CurationParams(source=str(CHECKOUT / "heo_core" / "assets" / "sample")), CurationParams(source="tests"))


def test_a_link_counts_as_what_it_leads_to(home):
    (home / "link").symlink_to("/etc")
    with pytest.raises(InputError, match=r"files='.*/link/hostname' leads to /etc/hostname"):
        admit(RelaxJobParams(files=(str(home / "link" / "hostname"),)))


def test_the_roots_that_are_named_take_the_place_of_the_others(home, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("HEO_ALLOWED_ROOTS", f"{tmp_path / 'data'}:{tmp_path / 'more'}")
    admit(
        CurationParams(), CurationParams(source=str(tmp_path / "data" / "x")), CurationParams(source=f"{tmp_path}/more")
    )
    with pytest.raises(InputError, match="may not go"):
        admit(CurationParams(source=str(home)))


@pytest.mark.parametrize("name", ["services.json", "postgres/passwords.json", "prefect/x"])
def test_what_the_services_keep_to_themselves_is_no_place_for_a_run(name, home):
    with pytest.raises(InputError, match="keep to themselves"):
        admit(CurationParams(source=str(home / name)))


def test_what_the_services_keep_elsewhere_by_a_link_is_no_place_either(home, tmp_path, monkeypatch):
    (tmp_path / "disk" / "postgres").mkdir(parents=True)
    (home / "postgres").symlink_to(tmp_path / "disk" / "postgres")
    monkeypatch.setenv("HEO_ALLOWED_ROOTS", str(tmp_path / "disk"))
    with pytest.raises(InputError, match="keep to themselves"):
        admit(CurationParams(source=str(tmp_path / "disk" / "postgres" / "passwords.json")))


@pytest.mark.parametrize("path", ["nul\0byte", "x" * 5000, "~nobody-of-this-name/x"])
def test_what_is_no_path_is_refused_with_its_field(path, home):
    with pytest.raises(InputError, match=r"^out="):
        confine(path, "out", Settings(allowed_roots=(home,)))


def test_a_run_of_ones_own_may_go_where_its_user_may_and_takes_its_time(monkeypatch):
    monkeypatch.delenv(FLOW_RUN_MARK, raising=False)
    admit(CurationParams(source=OUTSIDE))
    assert limit(hours=1) is None
    monkeypatch.setenv(FLOW_RUN_MARK, "of a test")
    assert limit(hours=1) == 3600


def test_a_run_that_kills_its_process_every_time_ends():
    count_starts(MAX_STARTS)
    with pytest.raises(HeoError, match="was started 3 times"):
        count_starts(MAX_STARTS + 1)
