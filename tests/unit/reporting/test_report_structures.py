from __future__ import annotations

from dataclasses import replace

import pytest
from synthetic_report import BASELINE, CANDIDATE, RATTLE

from heo_core.reporting.data import make_frame
from heo_core.reporting.palette import assign_styles
from heo_core.reporting.scenes import MAX_ATOMS, choose_cases, choose_samples
from heo_core.reporting.sections.before_after import make_before_after
from heo_core.reporting.sections.dataset import build_dataset
from heo_core.reporting.sections.own_relaxations import make_own_relaxations
from heo_core.reporting.viewer import Drawing, Scene, View, Viewer


def list_structures(*rows):
    known = {"n_atoms": 8, "n_elements": 5, "entropy_sublattice_r": 1.0, "fmax_ev_per_ang": 0.1, "prototype": None}
    return make_frame("structures", [{"structure_id": i, **known, **row} for i, row in enumerate(rows)])


def list_cases(*rows):
    known = {"n_atoms": 8, "converged": True, "failure": None, "label": BASELINE}
    return make_frame("relaxations", [{**known, **row} for row in rows])


def test_samples_are_one_of_each_crystal_then_the_extremes_and_none_twice():
    structures = list_structures(
        {"prototype": "spinel"},
        {"prototype": "spinel", "n_elements": 9},
        {"fmax_ev_per_ang": 3.0},
        {"entropy_sublattice_r": 1.6},
    )
    chosen = choose_samples(structures)
    assert chosen[0] == "Typical spinel"
    assert chosen[1] == "Most elements"
    assert chosen[2] == "Largest reference force"
    assert chosen[3] == "Highest configurational entropy"
    assert len(chosen) == 4


def test_cells_too_large_for_a_page_are_not_chosen():
    assert choose_samples(list_structures({"n_atoms": MAX_ATOMS + 1})) == {}
    assert choose_cases(list_cases({"case_index": 0, "n_atoms": MAX_ATOMS + 1, "displacement_rmsd_ang": 1.0})) == {}


def test_failed_cases_come_first_then_those_that_moved_most_under_any_model():
    rows = [{"case_index": i, "displacement_rmsd_ang": 0.1 * i} for i in range(12)]
    rows += [{"case_index": 5, "displacement_rmsd_ang": 9.0, "label": CANDIDATE}]
    rows += [{"case_index": 12, "converged": False, "failure": "no force is finite"}]
    chosen = choose_cases(list_cases(*rows))
    assert list(chosen)[:5] == [12, 5, 11, 10, 9]
    assert chosen[12] == "Failed or not converged"
    assert chosen[5] == "Moved most"
    assert sum(reason == "Typical" for reason in chosen.values()) == 3


def test_cases_without_a_displacement_are_ordered_by_change_of_volume():
    chosen = choose_cases(list_cases(*({"case_index": i, "volume_change_fraction": -0.1 * i} for i in range(6))))
    assert list(chosen)[:2] == [5, 4]


def test_a_drawing_gives_fractional_coordinates():
    drawing = Drawing([[2, 0, 0], [1, 2, 0], [0, 0, 4]], [[0, 0, 0], [1.5, 1, 3]], ["O", "Mg"]).to_json()
    assert drawing["symbols"] == ["Mg", "O"]
    assert drawing["species"] == [1, 0]
    assert drawing["positions"] == [0, 0, 0, 0.5, 0.5, 0.75]
    assert drawing["lattice"] == [[2, 0, 0], [1, 2, 0], [0, 0, 4]]


@pytest.mark.parametrize("wreck", [{"positions_ang": [[0, 0, float("nan")]]}, {"lattice_ang": [[0, 0, 0]] * 3}])
def test_a_wrecked_cell_is_not_drawn_and_the_others_are(wreck):
    cell = {"lattice_ang": [[2, 0, 0], [0, 2, 0], [0, 0, 2]], "positions_ang": [[0, 0, 1]], "species": ["O"]}
    views = [View("", [], Drawing(**about)) for about in (cell, cell | wreck)]
    good, bad = Viewer("key", "", "", [Scene("", "", "", views)]).to_json()[0]
    assert good["positions"] == [0, 0, 0.5]
    assert bad is None


def test_every_case_shows_the_start_and_the_end_of_each_model(report):
    rows = report.relaxations[report.relaxations["benchmark"] == RATTLE]
    (viewer,) = make_before_after("key", rows, report.relaxed_cells, assign_styles(report.models))
    for scene in viewer.scenes:
        assert [view.title for view in scene.views] == ["Before", f"After, {BASELINE}", f"After, {CANDIDATE}"]
    assert viewer.scenes[0].group == "Failed or not converged"
    assert dict(viewer.scenes[0].views[1].facts)["Converged"] == "not converged in 200 force calls"


def test_a_failed_relaxation_has_its_reason_and_nothing_to_draw(report):
    rows = report.relaxations[report.relaxations["benchmark"] == RATTLE]
    cells = report.relaxed_cells[report.relaxed_cells["label"] != CANDIDATE]
    (viewer,) = make_before_after("key", rows, cells, assign_styles(report.models))
    assert [view.drawing is None for view in viewer.scenes[0].views] == [False, False, True]
    assert viewer.to_json()[0][2] is None


def test_structures_of_ones_own_stand_in_a_table_and_in_no_benchmark(report):
    own = report.relaxations.assign(benchmark="relax@1", kind="relax").drop_duplicates("case_index")
    data = replace(report, own_relaxations=own, relaxed_cells=report.relaxed_cells.assign(benchmark="relax@1"))
    _, table, viewer = make_own_relaxations(data, assign_styles(data.models))
    assert len(table.rows) == len(own)
    assert isinstance(viewer, Viewer)
    assert not list(make_own_relaxations(report, assign_styles(report.models)))


def test_of_a_large_job_of_ones_own_the_first_structures_stand_and_the_number_of_all(report):
    one = report.relaxations.iloc[[0]].assign(benchmark="relax@1", kind="relax")
    data = replace(report, own_relaxations=one.loc[one.index.repeat(301)], n_own_relaxations=5000)
    heading, table = make_own_relaxations(data, assign_styles(data.models))
    assert len(table.rows) == 300
    assert heading.text.endswith("These are 300 of 5,000; the others are in the database.")


def test_a_dataset_without_cells_or_crystals_has_a_section_all_the_same(report):
    structures = report.structures.assign(entropy_sublattice_r=None, prototype=None, space_group_symbol=None)
    section = build_dataset(replace(report, structures=structures, sample_cells=report.sample_cells.iloc[:0]))
    assert not any(isinstance(block, Viewer) for block in section.blocks)
