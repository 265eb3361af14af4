"""What only a browser shows of the page: it opens without a network, draws, sorts, saves, leads to rows, prints."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from synthetic_report import CANDIDATE, EF, RATTLE

from heo_core.reporting.page import render_page, write_page
from heo_core.reporting.sections.benchmark_titles import make_key

SHOTS = Path(__file__).parents[3] / "test-artifacts"
PARITY = "energy-parity-energy-forces-sample.40.1-test"


@pytest.fixture(scope="module")
def page(chromium, report, tmp_path_factory):
    path = write_page(render_page(report), tmp_path_factory.mktemp("page") / "report.html")
    context = chromium.new_context(viewport={"width": 1400, "height": 900}, offline=True)
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.said, page.asked = [], []
    # A driver that draws on the processor complains of its own speed when a picture is read back.
    page.on("console", lambda m: None if "GL Driver Message" in m.text else page.said.append(m.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn]", state="attached")
    yield page
    said = list(page.said)
    context.close()
    assert said == []


def save(page, click):
    with page.expect_download() as download:
        click()
    return download.value


def read_csv(download):
    with Path(download.path()).open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


def list_models(page):
    return page.eval_on_selector_all("#leaderboard-table tbody tr", "rows => rows.map(row => row.cells[0].innerText)")


def test_the_page_opens_without_a_network_and_draws_every_figure(page, report):
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / "report.png")
    n_plots = page.locator(".plot").count()
    assert page.locator(".plot .main-svg").count() >= n_plots >= 20
    assert page.get_attribute("html", "data-drawn") == str(n_plots)
    assert [url for url in page.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert page.said == []


def test_the_keyboard_sorts_a_table_and_yardsticks_stay_last(page):
    header = page.locator("#leaderboard-table thead tr:last-child th").nth(1)
    header.locator("button").focus()
    orders = []
    for direction in ("ascending", "descending"):
        page.keyboard.press("Enter")
        assert header.get_attribute("aria-sort") == direction
        orders.append(list_models(page))
    assert [name.split()[0] for name in orders[0][:2]] == [CANDIDATE, "heo-mini@1"]
    assert orders[1][:2] == orders[0][1::-1]
    assert all("yardstick" in name for order in orders for name in order[2:])


def test_a_dash_with_a_reason_comes_last_whichever_way_a_column_is_sorted(page):
    table = page.locator("table[id^=structures-]")
    table.evaluate("table => { table.closest('details').open = true; }")
    cell = table.locator("tbody tr").nth(3).locator("td").nth(2)
    cell.evaluate("cell => { cell.innerHTML = '–<small>no force</small>'; delete cell.dataset.order; }")
    button = table.locator("thead tr:last-child th").nth(3).locator("button")
    for _ in range(2):
        button.click()
        texts = table.locator("tbody tr").evaluate_all("rows => rows.map(row => row.cells[3].innerText)")
        assert [text.split() for text in texts[-1:]] == [["–", "no", "force"]]
        assert "–" not in "".join(texts[:-1])


def test_a_table_is_saved_with_intervals_and_all_its_digits(page, report):
    button = page.get_by_role("button", name="Download the table Leaderboard as CSV")
    header, rows = read_csv(save(page, button.click))
    place = header.index("Energies and forces: Force RMSE (meV/Å)")
    assert header[place + 1 : place + 3] == [f"{header[place]}, 95 % low", f"{header[place]}, 95 % high"]
    row = next(row for row in rows if row[0] == CANDIDATE)
    metrics = report.metrics.set_index(["label", "benchmark", "name"])
    expected = metrics.loc[(CANDIDATE, EF, "forces_rmse_ev_per_ang"), ["value", "ci_low", "ci_high"]].astype(float)
    assert [float(text) for text in row[place : place + 3]] == pytest.approx(list(1000 * expected), rel=1e-12)


@pytest.mark.parametrize(
    ("text", "saved"),
    [("=1+1", "'=1+1"), (" @SUM(1)", "'@SUM(1)"), ('-1,"x"', '\'-1,"x"'), ("+1", "'+1"), ("Co", "Co"), ("–", "")],
)
def test_no_text_becomes_a_formula_of_a_spreadsheet(page, text, saved):
    cell = page.locator("#training-runs tbody td").first
    cell.evaluate("(cell, text) => { cell.textContent = text; }", text)
    button = page.get_by_role("button", name="Download the table Training runs as CSV")
    _, rows = read_csv(save(page, button.click))
    assert rows[0][1] == saved


def test_a_figure_is_saved_as_data_and_as_a_picture(page, report):
    figure = page.locator("figure", has=page.locator(f'[data-figure="{PARITY}"]'))
    header, rows = read_csv(save(page, figure.get_by_role("button", name="CSV").click))
    assert header == ["series", "Reference energy (eV/atom)", "Predicted energy (eV/atom)", "formula", "id"]
    assert sorted(row[4] for row in rows) == sorted(report.predictions["immutable_id"])
    predicted = sorted(report.predictions["energy_predicted_ev_per_atom"])
    assert sorted(float(row[2]) for row in rows) == pytest.approx(predicted, rel=1e-6)
    picture = save(page, figure.get_by_role("button", name="SVG").click)
    assert Path(picture.path()).read_text(encoding="utf-8").startswith("<svg")


def save_figure(page, key):
    figure = page.locator("figure", has=page.locator(f'[data-figure="{key}"]'))
    return read_csv(save(page, figure.get_by_role("button", name="CSV").click))


def test_a_row_of_a_course_or_a_rate_says_what_it_is_of(page, report):
    relaxed = report.relaxations[report.relaxations["benchmark"] == RATTLE]
    header, rows = save_figure(page, f"fmax-{make_key(RATTLE)}")
    assert header == ["series", "Force calls", "Largest force on an atom (meV/Å)", "formula", "id"]
    assert {row[4] for row in rows} == {*relaxed["case_id"], ""}
    assert {row[0] for row in rows if not row[4]} == {f"{label}, median" for label in relaxed["label"]}
    header, rows = save_figure(page, f"rates-{make_key(RATTLE)}")
    assert header == [
        "series",
        "Structures converged (%)",
        "rate",
        "structures",
        "95 % low (%)",
        "95 % high (%)",
    ]
    row = next(row for row in rows if row[:1] + row[2:3] == [CANDIDATE, "in the end"])
    assert [float(text) for text in row[1:2] + row[3:]] == pytest.approx([100, 8, 80, 124], rel=1e-6)
    header, rows = save_figure(page, "rejections")
    assert header == ["series", "Rows rejected", "rule"]
    assert {row[2]: int(row[1]) for row in rows} == dict(
        zip(report.rejections["rule"], report.rejections["n_rejected"], strict=True)
    )


def test_a_row_of_the_map_has_its_id_and_the_property_that_it_is_coloured_by(page, report):
    known = report.structures.set_index("immutable_id")
    for choice, name, column in (
        ("Atoms in the cell", "Atoms in the cell", "n_atoms"),
        ("Parent crystal", "Parent crystal", "prototype"),
    ):
        page.locator("[data-choices=map]").select_option(label=choice)
        header, rows = save_figure(page, "map")
        assert header[3:] == ["formula", "id", name]
        assert len(rows) == len(known)
        expected = known[column].map(lambda value: "none known" if pd.isna(value) else str(value))
        assert {row[4]: row[5] for row in rows} == expected.to_dict()
    page.locator("[data-choices=map]").select_option(label="Split")
    assert save_figure(page, "map")[0][3:] == ["formula", "id"]


def test_a_saved_figure_and_a_saved_table_have_readable_names(page):
    figure = page.locator("figure", has=page.locator(f'[data-figure="{PARITY}"]'))
    picture = save(page, figure.get_by_role("button", name="SVG").click)
    assert picture.suggested_filename == "energy-parity-energy-forces-sample-1-test.svg"
    button = page.get_by_role("button", name="Download the table Leaderboard as CSV")
    assert save(page, button.click).suggested_filename == "leaderboard-table.csv"


def test_the_list_of_sections_marks_the_one_that_is_read(page):
    def scroll(y):
        page.evaluate("y => window.scrollTo({ top: y, behavior: 'instant' })", y)
        page.wait_for_timeout(100)
        return page.locator("nav a[aria-current]").evaluate_all("links => links.map(link => link.hash)")

    top = "id => document.getElementById(id).getBoundingClientRect().top + window.scrollY"
    assert scroll(page.evaluate(top, "dataset")) == ["#dataset"]
    assert scroll(0) == ["#answer"]
    assert scroll(10**7) == ["#methods"]
    assert scroll(0) == ["#answer"]


def test_a_table_too_wide_has_a_shadow_at_its_edge_until_its_end_is_reached(page):
    scroll = page.locator(".scroll", has=page.locator("#leaderboard-table"))

    def read_edge(left):
        """Darkest grey of the last columns of pixels, in a row of the table without text."""
        scroll.evaluate("(node, left) => { node.scrollLeft = left; }", left)
        box = scroll.bounding_box()
        picture = page.screenshot(clip={"x": box["x"] + box["width"] - 6, "y": box["y"] + 2, "width": 5, "height": 6})
        return np.asarray(Image.open(io.BytesIO(picture)).convert("L")).min()

    page.set_viewport_size({"width": 700, "height": 900})
    scroll.scroll_into_view_if_needed()
    shadow, end = read_edge(0), read_edge(10**5)
    page.set_viewport_size({"width": 1400, "height": 900})
    assert shadow < 235 < end


def test_a_clicked_point_leads_to_its_row_and_to_its_query(page):
    plot = page.locator(f'[data-figure="{PARITY}"]')
    plot.scroll_into_view_if_needed()
    # A point drawn last, so that no other lies above it.
    x, y, formula, identifier = plot.evaluate(
        """plot => {
            const trace = plot._fullData[1], { xaxis, yaxis } = plot._fullLayout, box = plot.getBoundingClientRect();
            const i = trace.x.length - 1;
            return [box.x + xaxis._offset + xaxis.d2p(trace.x[i]), box.y + yaxis._offset + yaxis.d2p(trace.y[i]),
                    ...trace.customdata[i]];
        }"""
    )
    page.mouse.move(x - 2, y - 2)
    page.mouse.move(x, y)
    page.wait_for_selector(f'[data-figure="{PARITY}"] .hovertext')
    page.mouse.click(x, y)
    card = page.locator("#picked")
    assert card.locator(".query").inner_text() == (
        f"select * from prediction_error where immutable_id = '{identifier}';"
    )
    assert card.locator("b").inner_text() in formula.replace("<sub>", "").replace("</sub>", "")
    card.get_by_role("button", name="Go to the row").click()
    assert page.locator("tr.found").get_attribute("data-structure") == identifier
    assert page.locator("tr.found").is_visible()
    card.get_by_role("button", name="Close").click()
    assert card.is_hidden()


def test_on_paper_no_table_is_wider_than_the_page_and_no_column_is_lost(page):
    count = "tables => tables.map(table => [...table.tHead.rows].at(-1).cells.length)"
    (n_columns,) = page.eval_on_selector_all("#leaderboard-table", count)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.set_viewport_size({"width": 688, "height": 900})
    page.emulate_media(media="print")
    widths = page.eval_on_selector_all("table", "tables => tables.map(table => table.getBoundingClientRect().right)")
    parts = page.eval_on_selector_all("[id^='leaderboard-table-part']", count)
    pressed = page.locator("button:not(th button):visible").count()
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 1400, "height": 900})
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert max(widths) <= 690
    assert len(parts) > 1
    assert sum(n - 1 for n in parts) == n_columns - 1  # each part has the names of the models, too
    assert pressed == 0
    assert page.locator("table.part").count() == 0
