from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from synthetic_report import BASELINE, CANDIDATE, make_hostile_report, make_synthetic_report

from heo_core.reporting.page import render_page, write_page

HOSTILE = (
    '</script><script>window.hacked=1</script><img src=x onerror=alert(1)><a href="https://evil.example">b</a>%{x}<b>'
)


class Reader(HTMLParser):
    """Collects what a browser would see: tags with attributes, text, and the content of scripts."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts, self.scripts, self._in_script = [], [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._in_script = False

    def handle_data(self, data):
        if self._in_script:
            self.scripts[-1] += data
        else:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    @property
    def programs(self):
        kinds = [attributes for tag, attributes in self.tags if tag == "script"]
        return [s for a, s in zip(kinds, self.scripts, strict=True) if a.get("type") != "application/json"]

    @property
    def figures(self):
        kinds = [attributes for tag, attributes in self.tags if tag == "script"]
        return {
            a["id"].removeprefix("figure-"): json.loads(s)
            for a, s in zip(kinds, self.scripts, strict=True)
            if a.get("id", "").startswith("figure-")
        }


@pytest.fixture(scope="module")
def html(report):
    return render_page(report)


@pytest.fixture(scope="module")
def page(html):
    return Reader(html)


@pytest.fixture(scope="module")
def hostile_page():
    return Reader(render_page(make_hostile_report(HOSTILE)))


def list_strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from list_strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from list_strings(item)


def test_answer_stands_before_everything_else(page):
    ids = [attributes["id"] for tag, attributes in page.tags if tag == "section" and "id" in attributes]
    assert ids == [
        "answer",
        "warnings",
        "leaderboard",
        "softening",
        "dataset",
        "training",
        "energy-forces",
        "relaxation",
        "physics",
        "methods",
    ]
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links[: len(ids)] == [f"#{name}" for name in ids]
    assert set(links) <= {f"#{name}" for name in ids}


def test_ids_are_unique(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_figure_has_a_place_a_caption_and_data(page):
    places = [attributes["data-figure"] for _, attributes in page.tags if "data-figure" in attributes]
    assert set(places) == set(page.figures)
    assert len(places) >= 15
    assert all(figure["data"] for figure in page.figures.values())
    n_viewers = sum("data-viewer" in attributes for _, attributes in page.tags)
    assert n_viewers == 3
    assert sum(tag == "figcaption" for tag, _ in page.tags) == len(places) + n_viewers


def test_page_loads_nothing_and_is_below_ten_megabytes(html, page):
    assert len(html.encode()) < 10_000_000
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "data", "poster", "action"):
            assert name not in attributes, tag
        if tag == "link":
            assert attributes["href"] == "data:,"
    own = html
    for library in page.programs[:-1]:
        own = own.replace(library, "")
    assert "http://" not in own
    assert "https://" not in own
    assert "@import" not in own
    assert "url(" not in own


def test_policy_allows_exactly_the_scripts_of_the_page(page):
    policy = next(
        a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    run = page.programs
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in run}
    assert set(re.findall(r"'sha256-[^']+'", policy)) == hashes
    assert len(hashes) == 3  # plotly, 3Dmol, the page's own
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_figures_offer_no_button_that_sends_them_away(page):
    own = page.scripts[-1]
    assert 'modeBarButtons: [["zoom2d", "pan2d", "resetScale2d"]]' in own
    assert "form-action 'none'" in str(page.tags)


def test_hostile_text_stays_text(hostile_page):
    assert len(hostile_page.programs) == 3
    assert not any(tag == "img" for tag, _ in hostile_page.tags)
    assert all(a["href"].startswith("#") for t, a in hostile_page.tags if t == "a")
    assert not any(name.startswith("on") for _, attributes in hostile_page.tags for name in attributes)
    assert "window.hacked=1" in hostile_page.text


def test_hostile_text_is_no_markup_inside_figures(hostile_page):
    allowed = re.compile(r"</?(?:b|br|sub|extra|span)(?: style=\"font-size:9px\")?>")
    seen = 0
    for figure in hostile_page.figures.values():
        for text in list_strings(figure):
            seen += "hacked" in text
            assert "<" not in allowed.sub("", text), text
            if "hacked" in text:
                assert "<b>" not in text.split("hacked", 1)[1].split("<br>")[0]
                assert "%{x}<b>" not in text
    assert seen > 100


def test_embedded_json_cannot_end_its_script(report):
    html = render_page(make_hostile_report("</script>"))
    assert Reader(html).figures.keys()
    for block in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html, flags=re.DOTALL):
        assert "<" not in block


def test_leaderboard_tells_cost_and_leads_to_the_sections(page):
    assert "Cost" in page.text
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links[-4:] == ["#energy-forces", "#relaxation", "#relaxation", "#training"]


def test_leaderboard_holds_every_model_and_the_yardsticks(page):
    for text in (BASELINE, CANDIDATE, "Zero force everywhere", "Mean energy by composition"):
        assert text in page.text


def test_methods_hold_hashes_parameters_versions_and_licences(report, page):
    for sha256 in report.models["sha256"]:
        assert sha256 in page.text
    for text in (
        "max_num_epochs",
        "mace-torch",
        "0.3.16",
        "relax.fmax",
        "CC-BY-4.0",
        "rules.min_elements",
        "chgnet:0.3.0",
    ):
        assert text in page.text


def test_a_large_report_stays_below_ten_megabytes():
    data = make_synthetic_report(n_structures=12_000, n_test=3000, n_components=50_000)
    assert len(render_page(data).encode()) < 10_000_000


def test_a_page_is_written_in_one_piece(tmp_path):
    path = write_page("<p>Å</p>", tmp_path / "new" / "report.html")
    assert path.read_bytes() == "<p>Å</p>".encode()
    write_page("second", path)
    assert path.read_text(encoding="utf-8") == "second"
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_a_failed_write_leaves_the_old_page_and_no_rest(tmp_path):
    path = write_page("old", tmp_path / "report.html")
    with pytest.raises(UnicodeEncodeError):
        write_page("\ud800", path)
    assert path.read_text(encoding="utf-8") == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
