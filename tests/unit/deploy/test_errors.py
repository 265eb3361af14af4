import errno

import psycopg
import pytest
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import OperationalError

from deploy.cli.errors import explain
from flows.settings import Settings
from heo_core.errors import HeoError, InputError, ServiceError


class StatefulError(psycopg.OperationalError):
    def __init__(self, message, state):
        super().__init__(message)
        self.sqlstate = state


@pytest.fixture(autouse=True)
def database(monkeypatch):
    monkeypatch.setenv("HEO_DATABASE_URL", "postgresql://user:secret@db.example:6543/heo")


@pytest.mark.parametrize(("kind", "code"), [(HeoError, 1), (InputError, 2), (ServiceError, 3)])
def test_our_own_errors_speak_for_themselves(kind, code):
    explanation = explain(kind("one clear line"))
    assert (explanation.message, explanation.exit_code, explanation.is_expected) == ("one clear line", code, True)


def test_notes_are_shown():
    error = InputError("bad row")
    error.add_note("in file x.parquet")
    assert explain(error).message == "bad row\nin file x.parquet"


def test_ctrl_c_is_130():
    assert explain(KeyboardInterrupt()).exit_code == 130


def test_an_unreachable_database_is_named_without_its_password():
    explanation = explain(psycopg.OperationalError("connection failed: Connection refused\nIs it running?"))
    assert explanation.exit_code == 3
    assert "database cannot be reached at db.example:6543" in explanation.message
    assert "secret" not in explanation.message
    assert "\n" not in explanation.message


def test_sqlalchemys_wrapping_is_seen_through():
    error = OperationalError("select 1", {}, psycopg.OperationalError("connection refused"))
    assert "database cannot be reached" in explain(error).message


def test_a_lost_connection_counts_as_unreachable_and_another_refusal_does_not():
    assert "cannot be reached" in explain(StatefulError("terminating connection", "57P01")).message
    refusal = explain(StatefulError("too many connections", "53300"))
    assert refusal.message == "database error 53300: too many connections"
    assert refusal.exit_code == 3


def test_a_full_disk_is_4_wherever_it_happened():
    full = OSError(errno.ENOSPC, "No space left on device", "/data/model.pt")
    wrapped = RuntimeError("saving failed")
    wrapped.__cause__ = full
    for error in (full, wrapped):
        assert explain(error).message == "disk full: /data/model.pt"
        assert explain(error).exit_code == 4
    assert explain(StatefulError("could not extend file", "53100")).exit_code == 4


def test_a_wrong_setting_is_named_as_its_variable(monkeypatch):
    monkeypatch.setenv("HEO_DEVICE", "tpu")
    with pytest.raises(ValidationError) as caught:
        Settings()
    explanation = explain(caught.value)
    assert explanation.exit_code == 2
    assert explanation.message.startswith("HEO_DEVICE='tpu'")


def test_a_wrong_parameter_is_named_with_its_path():
    class Inner(BaseModel):
        fmax: float

    class Outer(BaseModel):
        relax: Inner

    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"relax": {"fmax": "much"}})
    assert explain(caught.value).message.startswith("relax.fmax='much'")


def test_anything_else_is_unexpected_and_still_one_line():
    explanation = explain(ValueError("first\nsecond"))
    assert explanation.message == "unexpected ValueError: first second"
    assert explanation.exit_code == 1
    assert not explanation.is_expected
