"""Errors by group, trials of a sweep, densities and slopes of energies, and units on every axis of the page."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic_report import BASELINE, CANDIDATE, EF

from heo_core.reporting import figures
from heo_core.reporting.blocks import Panels, Table
from heo_core.reporting.data import make_frame
from heo_core.reporting.elements import POSITIONS
from heo_core.reporting.palette import assign_styles
from heo_core.reporting.sections import build_sections
from heo_core.reporting.sections.energy_forces import build_energy_forces, make_force_panels
from heo_core.reporting.sections.group_errors import make_group_blocks
from heo_core.reporting.sections.training import build_training

FORCES = "forces_mae_ev_per_ang"
UNIT = re.compile(r"\((m?eV/(Å|atom)|eV|Å|Å³/atom|%|R per site|no unit)\)$|, no unit$")
COUNTS_AND_NAMES = {
    "Atoms in the cell",
    "Different elements",
    "Epoch (0 = before training)",
    "Force calls",
    "Model",
    "Parent crystal",
    "Relaxed cells in order of the difference",
    "Rows rejected",
    "Source",
    "Space group",
    "Strategy",
    "Structures",
}


@pytest.fixture(scope="module")
def styles(report):
    return assign_styles(report.models)


@pytest.fixture(scope="module")
def swept(report):
    """The report, its candidate the second of four trials; the last one failed."""
    rows = [
        ("s@1 trial 0", "naive", 0.20, None),
        (CANDIDATE, "replay", 0.10, None),
        ("s@1 trial 2", "replay", 0.14, None),
        ("s@1 trial 3", "freeze", None, "its loss grew without end"),
    ]
    trials = [
        {
            "label": label,
            "sweep": "s@1",
            "strategy": strategy,
            "state": "failed" if failure else "completed",
            "failure": failure,
            "params": {"lr": 1e-4 * (i + 1)},
            "forces_rmse_ev_per_ang": error,
        }
        for i, (label, strategy, error, failure) in enumerate(rows)
    ]
    epochs = [
        {
            "label": trial["label"],
            "epoch": epoch,
            "forces_rmse_ev_per_ang": trial["forces_rmse_ev_per_ang"] + 0.1 / epoch,
        }
        for trial in trials[:3]
        for epoch in (1, 2)
    ]
    return replace(report, trials=make_frame("trials", trials), trial_epochs=make_frame("epochs", epochs))


@pytest.fixture(scope="module")
def blocks(swept):
    return [block for section in build_sections(swept) for block in section.blocks]


def get_table(blocks, key):
    return next(block for block in blocks if isinstance(block, Table) and block.key.startswith(key))


def test_every_axis_of_the_page_has_a_unit_or_is_a_count_or_a_name(blocks):
    panels = [panel for block in blocks if isinstance(block, Panels) for panel in block.panels]
    assert len(panels) > 30
    for panel in panels:
        for axis in (panel.figure.layout.xaxis, panel.figure.layout.yaxis):
            title = axis.title.text
            if axis.visible is False or (not title and (axis.type == "category" or axis.ticktext)):
                continue
            assert title in COUNTS_AND_NAMES or UNIT.search(str(title)), (panel.key, title)


def test_errors_of_an_element_stand_at_its_place_and_models_share_one_scale(report):
    drawn = [
        figures.plot_element_errors(report.group_metrics, label, FORCES).data[-1] for label in (BASELINE, CANDIDATE)
    ]
    rows = report.group_metrics.query("group_name == 'Co' and name == @FORCES").set_index("label")["value"]
    assert [trace.z[POSITIONS["Co"]] for trace in drawn] == pytest.approx(
        1000 * rows.loc[[BASELINE, CANDIDATE]], rel=1e-6
    )
    assert drawn[0].zmax == drawn[1].zmax
    assert "7 structures" in drawn[0].hovertext[POSITIONS["Co"][0]][POSITIONS["Co"][1]]


def test_a_group_without_a_number_is_left_out_and_never_zero(report, styles):
    changed = report.group_metrics.copy()
    changed.loc[(changed["group_name"] == "6") & (changed["label"] == CANDIDATE), "value"] = None
    baseline, candidate = figures.plot_group_errors(changed, styles, "n_elements", FORCES).data
    assert [about[0] for about in baseline.customdata] == ["5", "6", "7", "8"]
    assert [about[0] for about in candidate.customdata] == ["5", "7", "8"]
    assert min(candidate.y) > 0


def test_every_choice_of_a_figure_has_a_trace_of_every_model_in_the_same_place(report, styles):
    energies = "energy_offset_removed_mae_ev_per_atom"
    lacking = (report.group_metrics["name"] == energies) & (report.group_metrics["label"] == BASELINE)
    rows = report.group_metrics[~lacking]
    forces, others = (figures.plot_group_errors(rows, styles, "n_elements", name) for name in (FORCES, energies))
    assert [trace.name for trace in others.data] == [trace.name for trace in forces.data] == [BASELINE, CANDIDATE]
    assert [len(trace.x) for trace in others.data] == [0, 4]
    assert [trace.showlegend for trace in others.data] == [False, True]
    np.testing.assert_array_equal(others.data[1].x, forces.data[1].x)


def test_trials_stand_together_and_by_strategy_the_models_of_the_report_coloured(swept, styles):
    curves = figures.plot_trials(swept.trials, swept.trial_epochs, styles).data
    assert [trace.name for trace in curves] == ["naive", "replay", CANDIDATE]
    assert curves[-1].line.color == styles[CANDIDATE].colour
    points = figures.plot_strategies(swept.trials, styles).data
    assert [list(trace.y) for trace in points[::2]] == [pytest.approx([200]), pytest.approx([100, 140])]
    assert [trace.y[0] for trace in points[1::2]] == pytest.approx([200, 120])  # medians


def test_a_failed_trial_is_a_row_with_its_reason_and_without_numbers(blocks):
    last = get_table(blocks, "trials-table").rows[-1]
    assert last.cells[2].text == "failed"
    assert last.cells[2].detail == "its loss grew without end"
    assert [cell.order for cell in last.cells[4:]] == [None] * 5


def test_the_learning_rate_is_drawn_where_it_is_known(report, blocks, styles):
    keys = [panel.key for block in blocks if isinstance(block, Panels) for panel in block.panels]
    assert "training-rate" in keys
    unknown = replace(report, epochs=report.epochs.assign(lr=None))
    training = build_training(unknown, styles)
    assert "training-rate" not in [p.key for b in training.blocks if isinstance(b, Panels) for p in b.panels]


def test_a_structure_that_failed_comes_first_with_its_reason_and_points_lead_to_its_row(report, styles):
    failed = report.predictions.index[5]
    predictions = report.predictions.copy()
    predictions.loc[failed, ["failure", "energy_predicted_ev_per_atom"]] = ["unknown element: Tb", None]
    blocks = build_energy_forces(replace(report, predictions=predictions), styles).blocks
    rows = get_table(blocks, "structures").rows
    assert rows[0].structure == predictions.loc[failed, "immutable_id"]
    assert rows[0].cells[3].detail == "unknown element: Tb"
    assert rows[0].cells[3].order is None
    errors = [max(cell.order for cell in row.cells[3::2]) for row in rows[1:]]
    assert errors == sorted(errors, reverse=True)
    assert {row.structure for row in rows} == set(predictions["immutable_id"])


def test_a_sample_of_force_components_is_called_one(report, styles):
    rows = report.predictions.assign(n_atoms=[50] * len(report.predictions))
    for n_components, caption in ((4000, "A sample of 4,000 of 5,400 force"), (5400, "5,400 force components.")):
        components = report.force_components[report.force_components["label"] == CANDIDATE]
        components = pd.concat([components] * 2).iloc[:n_components]
        (panel,) = make_force_panels(replace(report, predictions=rows, force_components=components), styles, EF)
        assert panel.caption.startswith(caption)


def make_energies(n):
    reference = np.linspace(-7, -5, n)
    columns = {
        "label": "a@1",
        "energy_reference_ev_per_atom": reference,
        "energy_predicted_ev_per_atom": 0.9 * reference,
    }
    return pd.DataFrame(columns | {"formula_reduced": "MgO", "immutable_id": [f"id{i}" for i in range(n)]})


@pytest.mark.parametrize("plot", [figures.plot_energy_parity, figures.plot_energy_residuals])
def test_many_energies_become_a_density_with_the_worst_as_points(plot):
    n = figures.MAX_SCATTER_STRUCTURES
    kinds = [[trace.type for trace in plot(make_energies(m), {}).data if trace.name != "perfect"] for m in (n, n + 1)]
    assert kinds == [["scatter"], ["heatmap", "scatter"]]
    density, points = plot(make_energies(n + 1), {}).data[:2]
    assert 0.98 * n <= density.customdata.sum() <= n + 1
    assert len(points.x) == 60
    assert points.customdata[0][1] == "id0"  # |0.9 E − E| is largest at −7 eV


def test_slope_of_energies_allows_an_offset_and_needs_different_energies():
    shifted = make_energies(20).assign(label="b@1")
    shifted["energy_predicted_ev_per_atom"] += 3
    alike = make_energies(2).assign(label="c@1", energy_reference_ev_per_atom=-6.0)
    slopes = figures.compute_energy_slopes(pd.concat([make_energies(20), shifted, alike]))
    assert slopes == pytest.approx({"a@1": 0.9, "b@1": 0.9})


def test_groups_that_hold_all_structures_are_neither_drawn_nor_listed(report, styles):
    def list_groupings(rows):
        blocks = make_group_blocks(replace(report, group_metrics=rows), styles, EF)
        assert all(block.panels for block in blocks if isinstance(block, Panels))
        keys = [panel.key for block in blocks if isinstance(block, Panels) for panel in block.panels]
        titles = [
            (block.title, {row.cells[0].text for row in block.rows}) for block in blocks if isinstance(block, Table)
        ]
        return keys, titles

    keys, ((title, listed),) = list_groupings(report.group_metrics)
    assert (len(keys), listed) == (3, {"Element", "Number of elements"})
    assert title.endswith("by element and number of elements")
    two = report.group_metrics.query("grouping == 'source'").assign(group_name="mp")
    keys, ((title, listed),) = list_groupings(pd.concat([report.group_metrics, two]))
    assert (len(keys), listed) == (4, {"Element", "Number of elements", "Source"})
    assert list_groupings(report.group_metrics.query("grouping == 'source'")) == ([], [])


def test_the_table_and_the_picture_by_element_say_when_removing_the_offset_makes_an_error_larger(blocks):
    said = "the error with the offset removed may be larger than the one as it is"
    panels = [panel for block in blocks if isinstance(block, Panels) for panel in block.panels]
    assert said in get_table(blocks, "groups").caption
    assert all(said in panel.caption for panel in panels if panel.key.startswith("element-errors"))


def test_group_table_counts_structures_and_keeps_the_unit(report, blocks):
    table = get_table(blocks, "groups")
    row = next(row for row in table.rows if row.cells[1].text == "Co")
    found = report.group_metrics.query("group_name == 'Co' and name == @FORCES and label == @BASELINE")
    assert row.cells[2].order == found["n"].iloc[0]
    assert table.columns[3].unit == "meV/Å"
    assert row.cells[3].order == pytest.approx(1000 * found["value"].iloc[0])
