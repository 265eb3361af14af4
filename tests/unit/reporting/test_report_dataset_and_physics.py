from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic_report import BASELINE, CANDIDATE, RATTLE

from heo_core.reporting import figures
from heo_core.reporting.blocks import Missing, Panels, Table
from heo_core.reporting.data import make_frame
from heo_core.reporting.palette import assign_styles
from heo_core.reporting.sections.dataset import build_dataset
from heo_core.reporting.sections.physics import build_physics
from heo_core.reporting.sections.relaxation import build_relaxation


@pytest.fixture(scope="module")
def styles(report):
    return assign_styles(report.models)


def list_choices(structures, errors=None):
    return {name: (data, layout) for name, data, layout in figures.recolour_map(structures, errors or {})}


def test_the_map_may_be_coloured_by_what_varies_and_known_errors(report):
    structures = report.structures.assign(n_atoms=8)
    names = list(list_choices(structures, {BASELINE: {1: 0.2, 2: 0.3}, CANDIDATE: {}}))
    assert names[0] == "Split"
    assert f"Force error of {BASELINE}" in names
    assert f"Force error of {CANDIDATE}" not in names
    assert "Atoms in the cell" not in names
    assert "Parent crystal" in names


def test_structures_without_the_number_are_faint_on_the_map(report):
    data, layout = list_choices(report.structures, {BASELINE: {1: 0.2, 2: 0.3}})[f"Force error of {BASELINE}"]
    colours = [colour for part in data["marker.color"] for colour in part]
    opacities = [opacity for part in data["marker.opacity"] for opacity in part]
    assert sorted(colour for colour in colours if colour is not None) == [200, 300]
    assert [opacity == 1 for opacity in opacities] == [colour is not None for colour in colours]
    assert layout["coloraxis.colorbar.title"]["text"] == f"Force error of {BASELINE} (meV/Å)"


def test_rare_names_share_one_colour_on_the_map(report):
    structures = report.structures.assign(source=[f"s{min(i, 9)}" for i in range(len(report.structures))])
    _, layout = list_choices(structures)["Source"]
    assert layout["coloraxis.colorbar.ticktext"][-1] == "3 others"
    assert len(layout["coloraxis.colorbar.ticktext"]) == 8


def test_entropy_is_counted_once_a_structure_and_has_its_line(report):
    figure = figures.plot_entropy(report.structures)
    assert sum(sum(trace.y) for trace in figure.data) == len(report.structures)
    assert figure.layout.shapes[0].x0 == 1.5
    assert figure.layout.xaxis.title.text == "Configurational entropy (R per site)"


def test_what_is_cut_is_said_with_the_number_of_all(report):
    n = len(report.structures)
    many = pd.concat([report.structures] * 9, ignore_index=True).assign(structure_id=range(9 * n))
    for structures, drawn in ((report.structures, None), (many, f"2,000 of {9 * n:,} structures are drawn")):
        blocks = build_dataset(replace(report, structures=structures)).blocks
        (panel,) = [p for block in blocks if isinstance(block, Panels) for p in block.panels if p.key == "map"]
        assert ("are drawn" in panel.caption) is (drawn is not None)
        assert drawn is None or drawn in panel.caption
    failed = report.relaxations.iloc[[0]].assign(converged=False, failure="exploded")
    data = replace(report, relaxations=pd.concat([failed] * 201, ignore_index=True))
    blocks = build_relaxation(data, assign_styles(data.models)).blocks
    (table,) = [block for block in blocks if isinstance(block, Table)]
    assert len(table.rows) == 200
    assert table.title.endswith("200 of 201")


def test_no_bar_of_the_entropy_stands_on_both_sides_of_its_line():
    rows = [{"split": "test", "entropy_sublattice_r": value} for value in (1.49, 1.5, 1.55)]
    (bars,) = figures.plot_entropy(make_frame("structures", rows)).data
    assert {round(x, 2): n for x, n in zip(bars.x, bars.y, strict=True) if n} == {1.45: 1, 1.55: 2}
    assert bars.customdata[-1] == "1.5 to 1.6 R"


def test_the_most_frequent_names_and_all_others_hold_every_structure():
    structures = make_frame(
        "structures", [{"split": "train", "space_group_symbol": s} for s in ["P1"] * 3 + ["Pm", "R3"]]
    )
    (bars,) = figures.plot_most_frequent(structures, "space_group_symbol", "Space group", n=1).data
    assert list(bars.y) == ["P1", "2 others"]
    assert list(bars.x) == [3, 2]


def test_rates_stand_with_their_intervals(report, styles):
    metrics = report.metrics[report.metrics["benchmark"] == RATTLE]
    first = figures.plot_rates(metrics, styles).data[0]
    assert first.x == pytest.approx([87.5, 37.5, 62.5])
    assert first.error_x.array == pytest.approx([24, 36, 30])
    assert first.error_x.arrayminus == pytest.approx([20, 30, 25])


def test_a_structure_without_an_end_is_never_close_to_its_reference(styles):
    rows = pd.DataFrame(
        {
            "label": BASELINE,
            "formula_reduced": "MgO",
            "case_id": ["a", "b", "c", "d"],
            "displacement_rmsd_ang": [0.3, 0.1, None, 0.1],
        }
    )
    (curve,) = figures.plot_rmsd_distribution(rows, styles).data
    assert curve.x == pytest.approx([0.1, 0.1, 0.3])
    assert curve.y == pytest.approx([50, 50, 75])


PHYSICS = {"label": BASELINE, "benchmark": "physics@1"}


def list_curve(kind, subject, energies, x, n_atoms=2):
    return [
        {**PHYSICS, "kind": kind, "subject": subject, "n_atoms": n_atoms, "x": place, "energy_ev": energy}
        for place, energy in zip(x, energies, strict=True)
    ]


def test_a_well_counts_from_its_lowest_energy_per_atom():
    curves = make_frame("physics_curves", list_curve("volume-curve", "MgO", [-9.8, -10.0, None], [9, 10, 11]))
    (x, y) = figures.list_physics_curves(curves, "volume-curve", "MgO")[BASELINE]
    assert x == [9, 10, 11]
    assert y == [100, 0, None]


def test_a_pair_counts_from_its_bond_so_that_a_hole_is_below_zero():
    curves = make_frame("physics_curves", list_curve("repulsion", "Mg-O", [-8, 2, -5, -1], [0.6, 1.0, 1.8, 3.0]))
    assert figures.list_physics_curves(curves, "repulsion", "Mg-O")[BASELINE][1] == [-3, 7, 0, 4]


def test_physics_says_why_a_subject_has_no_number_and_shows_the_worst_first(report, styles):
    checks = [
        {"kind": "repulsion", "subject": "Mg-O", "name": "energy_flips", "value": 0, "unit": "1"},
        {"kind": "repulsion", "subject": "Ag-O", "name": "energy_flips", "value": 3, "unit": "1"},
        {"kind": "repulsion", "subject": "Tc-O", "name": "energy_flips", "failure": "does not know Tc"},
    ]
    curves = [row for pair in ("Mg-O", "Ag-O") for row in list_curve("repulsion", pair, [1, 0], [1.0, 2.0])]
    data = replace(
        report,
        physics_checks=make_frame("physics_checks", [{**PHYSICS, **check} for check in checks]),
        physics_curves=make_frame("physics_curves", curves),
    )
    panels, table = build_physics(data, styles).blocks
    assert isinstance(panels, Panels)
    assert [choice.name for choice in panels.panels[0].choices] == ["Ag-O", "Mg-O"]
    assert isinstance(table, Table)
    assert {row.cells[0].text: row.cells[-1].text for row in table.rows}["Tc-O"] == "does not know Tc"
    assert np.isfinite(panels.panels[0].figure.data[0].y).all()


def test_two_benchmarks_of_physics_are_not_mixed(report, styles):
    check = {**PHYSICS, "kind": "repulsion", "subject": "Mg-O", "name": "energy_flips", "value": 0, "unit": "1"}
    checks = make_frame("physics_checks", [check, {**check, "benchmark": "mine@1", "value": 4}])
    curves = make_frame("physics_curves", list_curve("repulsion", "Mg-O", [1, 0], [1.0, 2.0]))
    both = pd.concat([curves, curves.assign(benchmark="mine@1", x=curves["x"] + 0.5)])
    blocks = build_physics(replace(report, physics_checks=checks, physics_curves=both), styles).blocks
    assert [table.rows[0].cells[2].text for table in blocks if isinstance(table, Table)] == ["0", "4.00"]
    panels = [panel for block in blocks if isinstance(block, Panels) for panel in block.panels]
    assert [list(panel.figure.data[0].x) for panel in panels] == [[1, 2], [1.5, 2.5]]
    keys = [block.key for block in blocks if isinstance(block, Table)] + [panel.key for panel in panels]
    assert len(set(keys)) == 4


def test_unchecked_physics_names_the_command(report, styles):
    (missing,) = build_physics(report, styles).blocks
    assert isinstance(missing, Missing)
    assert missing.command == "heo evaluate --benchmark physics"
