"""Structures that turn and a map that changes its colours: what only a browser shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_report import BASELINE, RATTLE, make_hostile_report

from heo_core.reporting.page import render_page

SHOTS = Path(__file__).parents[3] / "test-artifacts"
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>"
NO_WEBGL = """
const getContext = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return kind.startsWith("webgl") ? null : getContext.call(this, kind, ...rest);
};
"""


def keep_structures(data):
    """The least that has a map and structures: a page draws the quicker the less stands in it."""
    names = ("epochs", "training_runs", "metrics", "comparisons", "predictions", "force_components", "rejections")
    parts = {name: getattr(data, name).iloc[:0] for name in (*names, "group_metrics", "evaluations")}
    # The name of a hostile report's benchmark goes on.
    parts |= {
        name: frame[frame["benchmark"].str.startswith(RATTLE)]
        for name, frame in (("relaxations", data.relaxations), ("relaxed_cells", data.relaxed_cells))
    }
    return replace(data, structures=data.structures.iloc[:120], **parts)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """One page for all: whatever else is looked at, its text is hostile."""
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(render_page(keep_structures(make_hostile_report(HOSTILE))), encoding="utf-8")
    return file


def open_page(chromium, file, script=None):
    """The page once its figures are drawn, and a list that collects errors and whatever it asks the network for."""
    page = chromium.new_page(viewport={"width": 660, "height": 500})
    page.set_default_timeout(120_000)
    wrong = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if request.url != file.as_uri() else None)
    if script is not None:
        page.add_init_script(script)
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-drawn]", state="attached")
    return page, wrong


@pytest.fixture(scope="module")
def opened(chromium, path):
    page, wrong = open_page(chromium, path)
    yield page, wrong
    page.close()


def show(page, key):
    """The viewer whose key begins so, drawn."""
    viewer = page.locator(f'[data-viewer^="{key}"]')
    viewer.scroll_into_view_if_needed()
    page.wait_for_selector(f'[data-viewer^="{key}"][data-drawn]')
    return viewer


def test_a_structure_turns_by_mouse_and_by_keys(opened):
    page, wrong = opened
    stage = show(page, "samples").locator(".stage")
    SHOTS.mkdir(exist_ok=True)
    pictures = [stage.screenshot(path=SHOTS / "structure.png")]
    box = stage.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 90, y + 40, steps=4)
    page.mouse.up()
    pictures.append(stage.screenshot())
    stage.press("ArrowLeft")
    pictures.append(stage.screenshot())
    assert len(set(pictures)) == 3
    assert wrong == []


def test_another_structure_is_drawn_with_its_own_words(opened):
    page, wrong = opened
    viewer = show(page, "samples")
    words = viewer.locator(".scene:visible").inner_text()
    viewer.locator("select").select_option("1")
    assert viewer.get_attribute("data-drawn") == "1"
    assert viewer.locator(".scene:visible").count() == 1
    assert viewer.locator(".scene:visible").inner_text() != words
    assert wrong == []


def test_before_and_after_stand_side_by_side(opened):
    page, wrong = opened
    viewer = show(page, "relaxed-")
    names = viewer.locator(".stage span").all_inner_texts()
    assert names[0] == "Before"
    assert names[1] == f"After, {BASELINE}"
    assert len(names) == 3
    assert viewer.locator("canvas").count() == 1
    assert wrong == []


def test_the_map_takes_the_chosen_colour(opened):
    page, wrong = opened
    page.locator("[data-choices=map]").select_option(label="Atoms in the cell")
    colours, title = page.locator("[data-figure=map]").evaluate(
        "plot => [plot.data[0].marker.color, plot.layout.coloraxis.colorbar.title.text]"
    )
    assert len(colours) == 48  # of 120 structures, those of the training split
    assert title == "Atoms in the cell"
    page.locator("[data-choices=map]").select_option(label="Split")
    assert isinstance(page.locator("[data-figure=map]").evaluate("plot => plot.data[0].marker.color"), str)
    assert wrong == []


def test_without_webgl_the_page_says_so_and_goes_on(chromium, path):
    page, wrong = open_page(chromium, path, NO_WEBGL)
    viewer = page.locator('[data-viewer="samples"]')
    assert "no WebGL" in viewer.inner_text()
    viewer.locator("select").select_option("1")
    assert viewer.locator(".scene:visible").count() == 1
    assert wrong == []
    page.close()


def test_hostile_text_stays_text_in_structures(opened):
    page, wrong = opened
    viewer = show(page, "samples")
    assert HOSTILE in viewer.locator(".elements").inner_text()
    assert HOSTILE in viewer.locator("option").first.inner_text()
    assert page.locator("html").evaluate("() => window.hacked === undefined")
    assert page.locator("img").count() == 0
    assert wrong == []
