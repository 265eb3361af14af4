from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic_report import BASELINE, CANDIDATE, RATTLE, SUBSTITUTION

from heo_core.reporting import figures
from heo_core.reporting.blocks import Panels
from heo_core.reporting.data import make_frame
from heo_core.reporting.elements import POSITIONS
from heo_core.reporting.figures.canvas import MAX_POINTS, thin_out, use_log_axis
from heo_core.reporting.palette import assign_styles, formula_markup, plain
from heo_core.reporting.sections.relaxation import build_relaxation


@pytest.fixture(scope="module")
def styles(report):
    return assign_styles(report.models)


@pytest.fixture(scope="module")
def rattled(report):
    return report.relaxations[report.relaxations["benchmark"] == RATTLE]


@pytest.fixture(scope="module")
def substituted(report):
    return report.relaxations[report.relaxations["benchmark"] == SUBSTITUTION]


def draw_all(data, styles):
    relaxations = data.relaxations
    return {
        **{
            f"training {q}": figures.plot_training_curves(data.epochs, data.training_runs, styles, q)
            for q in ("loss", "forces", "energy")
        },
        **{
            f"distribution {q}": figures.plot_error_distribution(data.predictions, styles, q)
            for q in ("forces", "energy")
        },
        "energy parity": figures.plot_energy_parity(data.predictions, styles),
        "energy residuals": figures.plot_energy_residuals(data.predictions, styles),
        "force parity": figures.plot_force_parity(data.force_components, styles, CANDIDATE, 0.9),
        "convergence": figures.plot_convergence(relaxations, styles),
        "fmax": figures.plot_fmax_descent(relaxations, styles, 0.05),
        "energy descent": figures.plot_energy_descent(relaxations, styles),
        "displacement": figures.plot_displacement(relaxations[relaxations["benchmark"] == RATTLE], styles),
        "volume": figures.plot_volume_change(relaxations[relaxations["benchmark"] == RATTLE], styles),
        "paired": figures.plot_paired_energy_differences(relaxations, styles, BASELINE),
        "elements": figures.plot_element_counts(data.structures),
        "rejections": figures.plot_rejections(data.rejections),
        "composition": figures.plot_composition(data.structures),
        "sizes": figures.plot_cell_sizes(data.structures),
        "forces": figures.plot_reference_forces(data.structures),
        "map": figures.plot_map(data.structures),
    }


def get_colour(trace):
    return trace.line.color if trace.mode == "lines" else trace.marker.color


def test_every_axis_that_is_shown_has_a_title_and_quantities_have_units(report, styles):
    units = ("(meV/Å)", "(meV/atom)", "(eV/atom)", "(Å)", "(%)", "(no unit)")
    for name, figure in draw_all(report, styles).items():
        if name == "elements":
            assert figure.layout.xaxis.visible is False
            continue
        x, y = figure.layout.xaxis.title.text, figure.layout.yaxis.title.text
        assert x, name
        assert y or name == "rejections", name
        assert any(unit in f"{x}{y}" for unit in units) or name in ("rejections", "composition", "sizes", "map"), name


def test_a_model_has_one_colour_in_all_figures(report, styles):
    for name, figure in draw_all(report, styles).items():
        for label in (BASELINE, CANDIDATE):
            found = {
                get_colour(t)
                for t in figure.data
                if t.type == "scatter" and t.name == label and t.showlegend is not False
            }
            assert found <= {styles[label].colour}, (name, label)
    assert styles[BASELINE].colour != styles[CANDIDATE].colour


def test_empty_frames_give_figures_without_data(styles):
    class Empty:
        def __getattr__(self, name):
            return make_frame(name)

    for name, figure in draw_all(Empty(), styles).items():
        for trace in figure.data:
            drawn = trace.z if trace.type == "heatmap" else trace.y
            assert name == "elements" or drawn is None or len(drawn) == 0, name


def test_energy_parity_holds_the_predictions_and_their_ids(report, styles):
    trace = next(t for t in figures.plot_energy_parity(report.predictions, styles).data if t.name == CANDIDATE)
    rows = report.predictions[report.predictions["label"] == CANDIDATE]
    np.testing.assert_allclose(trace.y, rows["energy_predicted_ev_per_atom"], rtol=1e-6)
    assert [row[1] for row in trace.customdata] == rows["immutable_id"].tolist()


def test_residuals_are_predicted_minus_reference_in_mev():
    row = {
        "label": "a",
        "immutable_id": "i",
        "formula_reduced": "MgO",
        "energy_reference_ev_per_atom": -6.0,
        "energy_predicted_ev_per_atom": -5.9,
    }
    figure = figures.plot_energy_residuals(make_frame("predictions", [row]), {})
    np.testing.assert_allclose(figure.data[0].y, [100.0], rtol=1e-5)


def test_a_failed_prediction_is_left_out_and_never_zero():
    good = {
        "label": "a",
        "immutable_id": "i",
        "formula_reduced": "MgO",
        "energy_reference_ev_per_atom": -6.0,
        "energy_predicted_ev_per_atom": -5.9,
    }
    failed = {**good, "energy_predicted_ev_per_atom": None, "failure": "no energy"}
    figure = figures.plot_energy_residuals(make_frame("predictions", [good, failed]), {})
    assert len(figure.data[0].y) == 1


def test_many_force_components_become_a_density_that_counts_those_in_the_frame(report, styles):
    figure = figures.plot_force_parity(report.force_components, styles, CANDIDATE, 0.9)
    n = int((report.force_components["label"] == CANDIDATE).sum())
    n_outside = figures.count_outside_force_parity(report.force_components, CANDIDATE)
    assert figure.data[0].type == "heatmap"
    assert int(np.sum(figure.data[0].customdata)) == n - n_outside
    assert figure.data[0].colorscale[1][1] == styles[CANDIDATE].colour


def test_few_force_components_are_points_and_the_slope_is_a_line_through_the_origin(styles):
    rows = [
        {"label": "a", "immutable_id": "i", "reference_ev_per_ang": v, "predicted_ev_per_ang": v / 2}
        for v in (-1.0, 1.0)
    ]
    figure = figures.plot_force_parity(make_frame("force_components", rows), styles, "a", 0.5)
    np.testing.assert_allclose(figure.data[0].y, [-500, 500])
    slope = figure.data[-1]
    assert slope.name == "slope 0.500"
    assert slope.y[1] / slope.x[1] == pytest.approx(0.5)


def test_force_parity_has_the_same_axes_for_every_model(report, styles):
    ranges = {
        figures.plot_force_parity(report.force_components, styles, label).layout.xaxis.range
        for label in (BASELINE, CANDIDATE)
    }
    assert len(ranges) == 1


def test_error_distribution_ends_at_all_structures(report, styles):
    for trace in figures.plot_error_distribution(report.predictions, styles, "forces").data:
        assert trace.y[-1] == pytest.approx(100)
        assert (np.diff(trace.x) >= 0).all()


def test_error_distribution_counts_failed_structures_among_all():
    rows = [{"label": "a", "immutable_id": str(i), "formula_reduced": "MgO"} for i in range(4)]
    for row, error in zip(rows, (0.3, 0.1, 0.2, None), strict=True):
        row |= {"forces_rmse_ev_per_ang": error, "failure": None if error else "no force"}
    (trace,) = figures.plot_error_distribution(make_frame("predictions", rows), {}, "forces").data
    np.testing.assert_allclose(trace.x, [100, 200, 300], rtol=1e-5)
    assert trace.y.tolist() == [25, 50, 75]


def test_success_curve_counts_failed_structures_as_not_converged(styles):
    rows = [
        {"label": "a", "converged": True, "force_calls": 10},
        {"label": "a", "converged": True, "force_calls": 30},
        {"label": "a", "converged": False, "force_calls": 50},
        {"label": "a", "converged": None, "failure": "exploded", "force_calls": 3},
    ]
    trace = figures.plot_convergence(make_frame("relaxations", rows), styles).data[0]
    assert trace.x.tolist() == [0, 10, 30, 50]
    assert trace.y.tolist() == [0, 25, 50, 50]


def test_fmax_courses_are_in_mev_on_a_logarithmic_axis_with_the_limit(rattled, styles):
    figure = figures.plot_fmax_descent(rattled, styles, 0.05)
    thin = [trace for trace in figure.data if trace.showlegend is False]
    assert len(thin) == len(rattled)
    assert thin[0].y[0] == pytest.approx(1000 * rattled["fmaxes_ev_per_ang"].iloc[0][0], rel=1e-5)
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.shapes[0].y0 == 50
    assert figure.layout.yaxis.range[0] < np.log10(50) < figure.layout.yaxis.range[1]


def test_median_course_keeps_the_last_value_of_a_finished_structure():
    rows = [
        {
            "label": "a",
            "formula_reduced": "MgO",
            "case_id": str(i),
            "n_atoms": 1,
            "fmax_ev_per_ang": c[-1],
            "energies_ev": c,
            "fmaxes_ev_per_ang": c,
        }
        for i, c in enumerate(([0.4, 0.1], [0.4, 0.3, 0.1], [0.4, 0.2, 0.2]))
    ]
    figure = figures.plot_fmax_descent(make_frame("relaxations", rows), {})
    np.testing.assert_allclose(figure.data[-1].y, [400, 200, 100])


@pytest.mark.parametrize("plot", [figures.plot_fmax_descent, figures.plot_energy_descent])
def test_a_wrecked_relaxation_pulls_neither_lines_nor_median(rattled, styles, plot):
    wreck = rattled.iloc[[0]].assign(
        fmax_ev_per_ang=None, failure="a force is beyond 1e4 eV/Å", energies_ev=[[-1e9, 1e12]], case_id="wreck"
    )
    wreck["fmaxes_ev_per_ang"] = [[1e3, 1e9]]
    with_wreck = plot(pd.concat([rattled, wreck], ignore_index=True), styles)
    assert max(trace.y.max() for trace in with_wreck.data) < 1e6
    for trace, expected in zip(with_wreck.data, plot(rattled, styles).data, strict=True):
        np.testing.assert_array_equal(trace.y, expected.y)


def test_a_caption_says_how_many_courses_are_drawn_and_left_out(report, rattled, styles):
    one = rattled[rattled["label"] == BASELINE].iloc[[0]]
    many = pd.concat([one.assign(case_index=i) for i in range(50)] + [one.assign(fmax_ev_per_ang=None)] * 2)
    panels = [
        panel
        for block in build_relaxation(replace(report, relaxations=many), styles).blocks
        if isinstance(block, Panels)
        for panel in block.panels
    ]
    caption = next(panel.caption for panel in panels if panel.key.startswith("fmax-"))
    assert caption.startswith("Thin lines are structures (40 of 50), the thick line is the median of all.")
    assert "Without 2 relaxations that failed before a final state." in caption


def test_energy_descent_ends_at_zero_per_atom(substituted, styles):
    for trace in figures.plot_energy_descent(substituted, styles).data:
        assert trace.y[-1] == pytest.approx(0, abs=1e-3)


def test_displacement_joins_the_same_structure_of_two_models(rattled, styles):
    lines = figures.plot_displacement(rattled, styles).data[0]
    assert lines.name == "pairs"
    assert sum(value is None for value in lines.y) == 8


def test_paired_energy_differences_are_candidate_minus_baseline_in_order(substituted, styles):
    figure = figures.plot_paired_energy_differences(substituted, styles, BASELINE, {CANDIDATE: (-0.004, -0.001)})
    energies = substituted.pivot_table(index="case_index", columns="label", values="reference_energy_ev_per_atom")
    expected = np.sort(1000 * (energies[CANDIDATE] - energies[BASELINE]).to_numpy())
    np.testing.assert_allclose(figure.data[0].y, expected, rtol=1e-4)
    band = next(shape for shape in figure.layout.shapes if shape.type == "rect")
    assert (band.y0, band.y1) == (-4, -1)


def test_energy_differences_take_only_cells_that_both_models_have(substituted):
    lacking = substituted.drop(substituted[(substituted["label"] == BASELINE) & (substituted["case_index"] < 3)].index)
    assert len(figures.compute_energy_differences(lacking, BASELINE)[CANDIDATE]) == 5


def test_training_marks_the_kept_epoch(report, styles):
    figure = figures.plot_training_curves(report.epochs, report.training_runs, styles, "forces")
    ring = next(trace for trace in figure.data if trace.name == "kept epoch")
    kept = report.epochs[report.epochs["epoch"] == 5]
    assert list(ring.x) == [5]
    np.testing.assert_allclose(ring.y, 1000 * kept["forces_rmse_ev_per_ang"], rtol=1e-5)


def test_element_counts_stand_at_their_place_and_oxygen_does_not_set_the_scale():
    structures = make_frame(
        "structures", [{"elements": ["Mg", "O"]}, {"elements": ["Mg", "Ni", "O"]}, {"elements": ["Ni", "O"]}]
    )
    heat = figures.plot_element_counts(structures).data[1]
    assert heat.z[POSITIONS["Mg"]] == 2
    assert heat.zmax == 2
    assert heat.z[POSITIONS["O"]] == 3
    assert np.isnan(heat.z[POSITIONS["Fe"]])


def test_periodic_table_has_no_two_elements_in_one_place():
    assert len(set(POSITIONS.values())) == len(POSITIONS) == 94
    assert POSITIONS["Fe"] == (3, 7)


def test_rejections_are_sorted_and_counted(report):
    bar = figures.plot_rejections(report.rejections).data[0]
    assert list(bar.x) == sorted(report.rejections["n_rejected"])


@pytest.mark.parametrize("plot", [figures.plot_composition, figures.plot_cell_sizes, figures.plot_reference_forces])
def test_histograms_hold_every_structure(report, plot):
    assert sum(sum(trace.y) for trace in plot(report.structures).data) == len(report.structures)


def test_the_map_shows_every_structure_that_has_a_place(report):
    structures = report.structures.copy()
    structures.loc[structures.index[:7], "map_x"] = None
    drawn = figures.plot_map(structures).data
    points = [trace for trace in drawn if trace.showlegend is False]
    assert sum(len(trace.x) for trace in points) == len(structures) - 7
    assert [trace.name for trace in points] == ["train", "validation", "test"]


def test_plain_text_cannot_be_markup_nor_a_template():
    assert plain("<b>x</b> %{y} &lt;") == "&lt;b&gt;x&lt;/b&gt; &#37;{y} &amp;lt;"
    assert plain("a\nb\u202e") == "a b "


def test_only_formulas_get_subscripts():
    assert formula_markup("Mg2NiO3") == "Mg<sub>2</sub>NiO<sub>3</sub>"
    assert formula_markup("Mg2<script>") == "Mg2&lt;script&gt;"


def test_thinning_keeps_the_worst_rows():
    rows = pd.DataFrame({"error": np.arange(5.0 * MAX_POINTS)})
    kept = thin_out(rows, rows["error"])
    assert len(kept) == MAX_POINTS
    assert set(range(5 * MAX_POINTS - MAX_POINTS // 10, 5 * MAX_POINTS)) <= set(kept.index)


def test_logarithmic_ticks_are_plain_numbers():
    figure = figures.plot_rejections(make_frame("rejections"))
    use_log_axis(figure.layout.xaxis, [0.0, 20.0, 300.0, np.nan])
    assert set(figure.layout.xaxis.ticktext) >= {"20", "50", "100", "200"}
    assert figure.layout.xaxis.range[0] < np.log10(20)
