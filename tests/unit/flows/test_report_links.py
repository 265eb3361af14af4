import json

import pytest

from flows.settings import Settings


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.delenv("HEO_REPORT_URL", raising=False)
    monkeypatch.delenv("HEO_REPORT_ROOT", raising=False)
    return Settings(home=tmp_path)


def test_a_page_is_linked_as_a_file_where_nobody_serves_it(settings):
    assert settings.resolve_report_link("a.html") == (settings.home / "reports" / "a.html").as_uri()


def test_a_page_is_linked_where_browsers_reach_it_whatever_this_machine_serves(settings):
    (settings.home / "services.json").write_text(json.dumps({"reports": {"url": "http://127.0.0.1:4280"}}))
    assert settings.resolve_report_link("a.html") == "http://127.0.0.1:4280/a.html"
    named = settings.model_copy(update={"report_url": "https://heo.example/reports/"})
    assert named.resolve_report_link("a.html") == "https://heo.example/reports/a.html"
