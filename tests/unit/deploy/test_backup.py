"""What a backup names goes nowhere but where its kind is kept."""

import hashlib

import pytest

from deploy.services.backup import FILES, _put_back
from deploy.services.postgres import split_password
from flows.settings import Settings

PAGE = b"<html></html>"
SHA256 = hashlib.sha256(PAGE).hexdigest()


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("file:///old/reports/na%C3%AFve-1.html", "naïve-1.html"),
        ("file:///old/reports/..%2F..%2Fx.html", "x.html"),
    ],
)
def test_a_page_goes_into_the_report_folder_whatever_its_uri_says(tmp_path, uri, name):
    stored = tmp_path / "backup" / FILES / SHA256[:2] / f"{SHA256}.html"
    stored.parent.mkdir(parents=True)
    stored.write_bytes(PAGE)
    settings = Settings(home=tmp_path / "home", report_root=None)
    assert _put_back(settings, tmp_path / "backup", uri, SHA256) == (settings.reports / name).as_uri()
    assert (settings.reports / name).read_bytes() == PAGE


def test_a_password_is_no_part_of_what_stands_on_a_command_line():
    assert split_password("postgresql+psycopg://heo:a%40b@host:1/heo") == ("postgresql://heo@host:1/heo", "a@b")
    assert split_password("postgresql://heo@host/heo") == ("postgresql://heo@host/heo", None)
