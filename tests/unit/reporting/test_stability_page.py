"""The page of mixtures shows every row, draws those that have a place, and turns no text into markup."""

import json
import re
from datetime import UTC, datetime

import pytest

from heo_core.params import StabilityParams
from heo_core.reporting.stability import StabilityMap, plot_map, render_map, summarise_map
from heo_core.stability.oxides import Oxide

EMPTY = dict.fromkeys(
    (
        "mixing_enthalpy_sem_ev_per_atom",
        "mixing_enthalpy_ev_per_atom",
        "mixing_enthalpy_ev_per_cation",
        "bond_spread_ang",
        "bond_spread_sem_ang",
        "radius_mismatch_percent",
        "mixing_temperature_k",
        "decomposition_energy_ev_per_atom",
        "failure",
    )
)


def make_row(name, enthalpy=None, spread=None, **given):
    cations = re.findall(r"[A-Z][a-z]", name)
    counts = {"composition": name, "cations": cations, "n_cations": len(cations), "n_cells": 2, "n_converged": 2}
    return {
        **EMPTY,
        **counts,
        "entropy_r": 0.7,
        "mixing_enthalpy_ev_per_atom": enthalpy,
        "bond_spread_ang": spread,
        **given,
    }


ROWS = [
    make_row("MgNi", 0.0344, 0.0096),
    make_row("MgCu", 0.0711, 0.1661, mixing_enthalpy_sem_ev_per_atom=0.002),
    make_row("MgCoNi", 0.06, 0.02),
    make_row("NiXe", failure="Xe has <b>no</b> radius"),
]


@pytest.fixture(scope="module")
def page():
    params = StabilityParams()
    oxides = [Oxide("Mg", "rocksalt", -6.3139), Oxide("Ni", "wurtzite", None, "collapsed")]
    study = {"model": "chgnet-0.3.0@1", **params.protocol}
    return render_map(StabilityMap(ROWS, oxides, {"Mg": oxides[0]}, study, params, datetime.now(UTC), "0"))


def test_a_map_has_a_point_for_each_mixture_with_both_numbers_and_none_for_others():
    pairs, triples = plot_map(ROWS).data
    assert (pairs.name, triples.name) == ("2 cations", "3 cations")
    assert list(pairs.y) == pytest.approx([34.4, 71.1])
    assert list(pairs.x) == [0.0096, 0.1661]
    assert list(pairs.error_y.array) == [0.0, 2.0]
    assert [point[0] for point in pairs.customdata] == ["MgNi", "MgCu"]


def test_every_mixture_is_in_the_table_with_its_reason_as_text(page):
    table = page[page.index('<table id="mixtures"') :]
    table = table[: table.index("</table>")]
    for row in ROWS:
        assert f">{row['composition']}<" in table
    assert "Xe has &lt;b&gt;no&lt;/b&gt; radius" in table
    assert "-6.3139" in page
    assert "collapsed" in page


def test_a_filter_leaves_those_with_the_cation_and_fades_the_others(page):
    embedded = re.search(r'id="choices-stability-map">(.*?)</script>', page, flags=re.DOTALL).group(1)
    names = re.findall(r'<option value="\d+">(.*?)</option>', page)
    choices = dict(zip(names, json.loads(embedded), strict=True))
    assert names[0] == "all mixtures"
    assert choices["all mixtures"][0]["marker.opacity"] == [[1.0, 1.0], [1.0]]
    with_cu, without_cu = (choices[f"{word} Cu"][0]["marker.opacity"] for word in ("with", "without"))
    assert (with_cu[0][1], without_cu[0][0], without_cu[1]) == (1.0, 1.0, [1.0])
    assert max(with_cu[0][0], with_cu[1][0], without_cu[0][1]) < 0.2


def test_the_answer_names_the_lowest_of_each_number_of_cations_and_counts_what_is_missing():
    (sentence,) = summarise_map(ROWS)
    assert "MgNi (34.4 meV/atom, of 2 with 2 cations) and MgCoNi (60.0 meV/atom, of 1 with 3 cations)" in sentence
    assert "1 mixture without a number" in sentence
    assert summarise_map(ROWS[3:]) == ["None of 1 mixture has an enthalpy yet."]
