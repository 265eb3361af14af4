"""Energy and force metrics against plain loops, and the laws they obey."""

import math
from dataclasses import replace

import numpy as np
import pytest

from heo_core.evaluation.energy_forces import (
    compare,
    compute_errors,
    compute_group_metrics,
    compute_metrics,
    find_mixed_functionals,
    find_offset,
    find_own_labels,
)
from heo_core.evaluation.metrics import fit_composition_baseline
from heo_core.records import Metric, Prediction, Structure

EXPECTED_NAMES = {
    "energy_rmse_ev_per_atom",
    "energy_mae_ev_per_atom",
    "energy_median_ev_per_atom",
    "energy_q95_ev_per_atom",
    "energy_mean_removed_rmse_ev_per_atom",
    "mean_energy_baseline_rmse_ev_per_atom",
    "energy_skill",
    "forces_rmse_ev_per_ang",
    "forces_mae_ev_per_ang",
    "forces_median_ev_per_ang",
    "forces_q95_ev_per_ang",
    "forces_cosine",
    "zero_force_rmse_ev_per_ang",
    "zero_force_mae_ev_per_ang",
    "forces_skill",
    "forces_softening_slope",
    "failed_count",
    "energy_offset_removed_rmse_ev_per_atom",
    "energy_offset_removed_mae_ev_per_atom",
    "energy_offset_removed_median_ev_per_atom",
    "energy_offset_removed_q95_ev_per_atom",
}


def make_structures(n: int, seed: int = 0) -> list[Structure]:
    """Cells of different sizes in six chemical systems, some forces below and some above 0.05 eV/Å."""
    rng = np.random.default_rng(seed)
    systems = [("Mg", "Ni", "O"), ("Co", "Mg", "O"), ("Cu", "O"), ("Ni", "O"), ("Zn", "O"), ("Co", "Zn", "O")]
    structures = []
    for i in range(n):
        species = systems[i % 6] * int(rng.integers(1, 4))
        forces = rng.normal(scale=0.05, size=(len(species), 3))
        structures.append(
            Structure(
                lattice=np.eye(3) * 6,
                positions=rng.uniform(0, 6, size=(len(species), 3)),
                species=species,
                immutable_id=f"s{i}",
                source="test",
                energy_ev=float(rng.normal(-5, 0.3)) * len(species),
                forces_ev_per_ang=forces,
            )
        )
    return structures


def make_predictions(structures: list[Structure], seed: int, scale: float = 0.8) -> list[Prediction]:
    rng = np.random.default_rng(seed)
    return [
        Prediction(
            energy_ev=s.energy_ev + float(rng.normal(0.02, 0.05)) * s.n_atoms,
            forces_ev_per_ang=scale * s.forces_ev_per_ang + rng.normal(scale=0.01, size=(s.n_atoms, 3)),
        )
        for s in structures
    ]


def by_name(metrics: list[Metric]) -> dict[str, Metric]:
    assert len({metric.name for metric in metrics}) == len(metrics)
    return {metric.name: metric for metric in metrics}


def compute(structures, predictions, training=()) -> dict[str, Metric]:
    return by_name(compute_metrics(structures, predictions, training, np.random.default_rng(0)))


def remove_offset_by_least_squares(structures: list[Structure], errors: np.ndarray) -> np.ndarray:
    """Each system's errors less what a ridge fit to those of all others predicts; six systems are six parts."""
    systems = np.array(["-".join(sorted(set(s.species))) for s in structures])
    left = errors.copy()
    for system in set(systems):
        others = [s for s, own in zip(structures, systems, strict=True) if own != system]
        elements = sorted({e for s in others for e in s.species})
        fractions, own = (
            np.array([[s.species.count(e) / len(s.species) for e in elements] for s in chosen])
            for chosen in (others, [s for s, name in zip(structures, systems, strict=True) if name == system])
        )
        y = errors[systems != system]
        rows, values = np.vstack([fractions, np.sqrt(1e-3) * np.eye(len(elements))]), np.zeros(len(y) + len(elements))
        values[: len(y)] = y - y.mean()
        left[systems == system] -= y.mean() + own @ np.linalg.lstsq(rows, values, rcond=None)[0]
    return left


def test_metrics_equal_plain_loops():
    structures, training = make_structures(30), make_structures(40, seed=9)
    predictions = make_predictions(structures, 1)
    found = compute(structures, predictions, training)
    assert set(found) == EXPECTED_NAMES

    e, f, r, p, cosines = [], [], [], [], []
    for s, q in zip(structures, predictions, strict=True):
        e.append(q.energy_ev / len(s.species) - s.energy_ev / len(s.species))
        for ref, pred in zip(s.forces_ev_per_ang, q.forces_ev_per_ang, strict=True):
            r.extend(ref)
            p.extend(pred)
            f.extend(abs(a - b) for a, b in zip(pred, ref, strict=True))
            if math.hypot(*ref) > 0.05:
                cosines.append(
                    sum(a * b for a, b in zip(pred, ref, strict=True)) / math.hypot(*ref) / math.hypot(*pred)
                )
    a = sorted(abs(x) for x in e)
    mean = sum(e) / 30
    baseline = fit_composition_baseline(training).predict(structures)
    missed = [b - s.energy_ev / len(s.species) for b, s in zip(baseline, structures, strict=True)]
    baseline_rmse = math.sqrt(sum(x * x for x in missed) / 30)
    left = sorted(abs(x) for x in remove_offset_by_least_squares(structures, np.array(e)))
    energy_rmse = math.sqrt(sum(x * x for x in e) / 30)
    expected = {
        "energy_rmse_ev_per_atom": energy_rmse,
        "energy_mae_ev_per_atom": sum(a) / 30,
        "energy_median_ev_per_atom": (a[14] + a[15]) / 2,
        "energy_q95_ev_per_atom": a[27] + 0.55 * (a[28] - a[27]),
        "energy_mean_removed_rmse_ev_per_atom": math.sqrt(sum((x - mean) ** 2 for x in e) / 30),
        "mean_energy_baseline_rmse_ev_per_atom": baseline_rmse,
        "energy_skill": 1 - energy_rmse / baseline_rmse,
        "forces_rmse_ev_per_ang": math.sqrt(sum(x * x for x in f) / len(f)),
        "forces_mae_ev_per_ang": sum(f) / len(f),
        "forces_median_ev_per_ang": float(np.percentile(f, 50)),
        "forces_q95_ev_per_ang": float(np.percentile(f, 95)),
        "forces_cosine": sum(cosines) / len(cosines),
        "zero_force_rmse_ev_per_ang": math.sqrt(sum(x * x for x in r) / len(r)),
        "zero_force_mae_ev_per_ang": sum(abs(x) for x in r) / len(r),
        "forces_skill": 1 - sum(f) / sum(abs(x) for x in r),
        "forces_softening_slope": sum(x * y for x, y in zip(p, r, strict=True)) / sum(x * x for x in r),
        "failed_count": 0.0,
        "energy_offset_removed_rmse_ev_per_atom": math.sqrt(sum(x * x for x in left) / 30),
        "energy_offset_removed_mae_ev_per_atom": sum(left) / 30,
        "energy_offset_removed_median_ev_per_atom": (left[14] + left[15]) / 2,
        "energy_offset_removed_q95_ev_per_atom": left[27] + 0.55 * (left[28] - left[27]),
    }
    assert {name: metric.value for name, metric in found.items()} == pytest.approx(expected, abs=1e-9)


def test_intervals_hold_their_value_and_shrink_to_it_when_all_groups_are_alike():
    structures = make_structures(30)
    predictions = make_predictions(structures, 1)
    without = {
        "failed_count",
        "energy_median_ev_per_atom",
        "energy_q95_ev_per_atom",
        "forces_median_ev_per_ang",
        "forces_q95_ev_per_ang",
        "energy_offset_removed_median_ev_per_atom",
        "energy_offset_removed_q95_ev_per_atom",
    }
    for name, metric in compute(structures, predictions, make_structures(40, seed=9)).items():
        if name in without:
            assert (metric.ci_low, metric.ci_high) == (None, None)
        else:
            assert metric.ci_low < metric.value < metric.ci_high

    one = structures[1]
    twins = [replace(one, species=(metal, "Mg", "O") * (one.n_atoms // 3)) for metal in ("Co", "Ni", "Zn", "Fe", "Cu")]
    for name, metric in compute(twins, make_predictions([one], 1) * 5, [structures[0]]).items():
        if name not in without and "baseline" not in name and "energy_skill" not in name:
            assert (metric.ci_low, metric.ci_high) == pytest.approx((metric.value, metric.value), abs=1e-9)


def test_predicting_zero_force_has_no_skill_and_no_slope():
    structures = make_structures(12)
    zero = [Prediction(s.energy_ev, np.zeros((s.n_atoms, 3))) for s in structures]
    found = compute(structures, zero, structures)
    assert found["forces_skill"].value == 0
    assert found["forces_softening_slope"].value == 0
    assert found["forces_cosine"].value == 0
    assert found["forces_rmse_ev_per_ang"].value == found["zero_force_rmse_ev_per_ang"].value


def test_perfect_predictions_score_one():
    structures = make_structures(12)
    perfect = [Prediction(s.energy_ev, s.forces_ev_per_ang) for s in structures]
    found = compute(structures, perfect, structures)
    for name in ("forces_skill", "forces_softening_slope", "forces_cosine", "energy_skill"):
        assert found[name].value == pytest.approx(1, abs=1e-12)
    assert found["energy_rmse_ev_per_atom"].value == 0
    assert found["forces_q95_ev_per_ang"].value == 0


def test_a_softer_model_has_a_slope_below_one_though_its_error_is_small():
    structures = make_structures(12)
    soft = [Prediction(s.energy_ev, 0.635 * s.forces_ev_per_ang) for s in structures]
    assert compute(structures, soft)["forces_softening_slope"].value == pytest.approx(0.635, abs=1e-12)


def test_mean_removed_energy_error_is_blind_to_a_constant_per_atom():
    structures = make_structures(12)
    predictions = make_predictions(structures, 2)
    shifted = [
        replace(p, energy_ev=p.energy_ev - 0.6 * s.n_atoms) for s, p in zip(structures, predictions, strict=True)
    ]
    name = "energy_mean_removed_rmse_ev_per_atom"
    assert compute(structures, shifted)[name].value == pytest.approx(
        compute(structures, predictions)[name].value, abs=1e-9
    )


def test_baseline_is_fitted_on_the_training_structures_alone():
    structures, training = make_structures(12), make_structures(20, seed=5)
    shifted = [replace(s, energy_ev=s.energy_ev + 10 * s.n_atoms) for s in training]
    name = "mean_energy_baseline_rmse_ev_per_atom"
    predictions = make_predictions(structures, 1)
    assert compute(structures, predictions, training)[name].value < 1
    assert compute(structures, predictions, shifted)[name].value == pytest.approx(10, abs=1)
    without = compute(structures, predictions, [])
    assert without[name].value is None
    assert without["energy_skill"].value is None


@pytest.mark.parametrize(
    "bad",
    [
        Prediction(None, None, failure="unknown element Xe"),
        Prediction(float("nan"), np.zeros((1, 3))),
        Prediction(-1.0, np.full((1, 3), np.inf)),
    ],
)
def test_an_unusable_prediction_is_counted_and_leaves_every_average_as_it_is(bad):
    structures, training = make_structures(13), make_structures(20, seed=5)
    predictions = make_predictions(structures, 3)
    expected = compute(structures[:-1], predictions[:-1], training)
    found = compute(structures, [*predictions[:-1], bad], training)
    assert (found["failed_count"].value, found["failed_count"].n) == (1.0, 13)
    for name in EXPECTED_NAMES - {"failed_count"}:
        assert found[name] == expected[name]
    assert found["energy_rmse_ev_per_atom"].n == 12


def test_a_missing_label_is_left_out_of_its_own_metrics_only():
    structures = make_structures(12)
    predictions = make_predictions(structures, 3)
    no_energy, no_forces = replace(structures[0], energy_ev=None), replace(structures[1], forces_ev_per_ang=None)
    found = compute([no_energy, no_forces, *structures[2:]], predictions)
    assert found["energy_rmse_ev_per_atom"].n == 11
    assert found["forces_rmse_ev_per_ang"].n == 11
    assert found["failed_count"].value == 0
    forces = compute([structures[0], *structures[2:]], [predictions[0], *predictions[2:]])["forces_rmse_ev_per_ang"]
    assert found["forces_rmse_ev_per_ang"].value == forces.value


def test_cosine_counts_the_structures_that_have_a_force_worth_a_direction():
    strong = make_structures(3)
    weak = [replace(s, forces_ev_per_ang=s.forces_ev_per_ang * 1e-6) for s in make_structures(3, seed=1)]
    found = compute(strong + weak, make_predictions(strong + weak, 1))
    assert found["forces_cosine"].n == 3
    assert found["forces_rmse_ev_per_ang"].n == 6


def test_without_a_structure_every_number_is_none():
    for metric in compute([], []).values():
        assert (metric.value, metric.n) == ((0.0, 0) if metric.name == "failed_count" else (None, 0))


def test_errors_of_one_structure_by_hand():
    structure = replace(make_structures(1)[0], species=("Mg", "O"), energy_ev=-10.0, forces_ev_per_ang=np.zeros((2, 3)))
    prediction = Prediction(-9.0, np.array([[0.3, 0.0, 0.0], [0.0, 0.0, -0.6]]))
    assert compute_errors(structure, prediction) == pytest.approx(
        {
            "energy_error_ev_per_atom": 0.5,
            "forces_rmse_ev_per_ang": math.sqrt(0.45 / 6),
            "forces_mae_ev_per_ang": 0.15,
        }
    )
    failed = compute_errors(structure, Prediction(None, None, failure="no"))
    assert set(failed.values()) == {None}


def test_forces_of_another_shape_are_an_error_that_names_the_structure():
    structure = make_structures(1)[0]
    with pytest.raises(ValueError, match=r"s0: predicted forces of shape \(1, 3\)"):
        compute_errors(structure, Prediction(-1.0, np.zeros((1, 3))))


def test_comparison_is_the_difference_of_the_metrics_on_the_structures_both_predicted():
    structures = make_structures(30)
    baseline, candidate = make_predictions(structures, 1), make_predictions(structures, 2, scale=0.95)
    baseline[0] = Prediction(None, None, failure="a")
    candidate[1] = Prediction(None, None, failure="b")
    found = by_name(compare(structures, baseline, candidate, np.random.default_rng(0)))
    first, second = compute(structures[2:], baseline[2:]), compute(structures[2:], candidate[2:])
    assert set(found) == {
        "energy_rmse_ev_per_atom",
        "energy_mae_ev_per_atom",
        "forces_rmse_ev_per_ang",
        "forces_mae_ev_per_ang",
        "forces_softening_slope",
        "energy_offset_removed_rmse_ev_per_atom",
        "energy_offset_removed_mae_ev_per_atom",
    }
    for name, metric in found.items():
        assert metric.value == pytest.approx(second[name].value - first[name].value, abs=1e-12)
        assert metric.n == 28
        assert metric.ci_low < metric.value < metric.ci_high
    assert found["forces_rmse_ev_per_ang"].ci_high < 0
    assert found["forces_softening_slope"].ci_low > 0


def test_a_model_compared_with_itself_differs_by_nothing():
    structures = make_structures(12)
    predictions = make_predictions(structures, 1)
    for metric in compare(structures, predictions, predictions, np.random.default_rng(0)):
        assert (metric.value, metric.ci_low, metric.ci_high) == (0, 0, 0)


def test_comparison_without_a_shared_structure_has_no_number():
    structures = make_structures(1)
    failed = [Prediction(None, None, failure="a")]
    for metric in compare(structures, failed, make_predictions(structures, 1), np.random.default_rng(0)):
        assert (metric.value, metric.n, metric.ci_low) == (None, 0, None)


def test_group_metrics_equal_plain_loops_over_the_group():
    structures = [replace(s, source=("mp", "oqmd")[i % 2]) for i, s in enumerate(make_structures(30))]
    predictions = make_predictions(structures, 1)
    failed = Prediction(None, None, failure="unknown element")
    found = {
        (m.grouping, m.group_name, m.name): m for m in compute_group_metrics(structures, [*predictions[:-1], failed])
    }
    pairs = list(zip(structures, predictions, strict=True))[:-1]
    assert {key[:2] for key in found} == {
        *(("element", symbol) for symbol in ("Co", "Cu", "Mg", "Ni", "O", "Zn")),
        ("source", "mp"),
        ("source", "oqmd"),
        ("n_elements", "2"),
        ("n_elements", "3"),
    }

    def check(grouping, group, chosen, counts):
        e = [(q.energy_ev - s.energy_ev) / len(s.species) for s, q in pairs if chosen(s)]
        f, r = [], []
        for s, q in pairs:
            for symbol, ref, pred in zip(s.species, s.forces_ev_per_ang, q.forces_ev_per_ang, strict=True):
                if chosen(s) and counts(symbol):
                    f.extend(a - b for a, b in zip(pred, ref, strict=True))
                    r.extend(ref)
        expected = {
            "energy_rmse_ev_per_atom": math.sqrt(sum(x * x for x in e) / len(e)),
            "energy_mae_ev_per_atom": sum(abs(x) for x in e) / len(e),
            "forces_rmse_ev_per_ang": math.sqrt(sum(x * x for x in f) / len(f)),
            "forces_mae_ev_per_ang": sum(abs(x) for x in f) / len(f),
            "zero_force_rmse_ev_per_ang": math.sqrt(sum(x * x for x in r) / len(r)),
            "forces_softening_slope": sum((x + y) * y for x, y in zip(f, r, strict=True)) / sum(y * y for y in r),
        }
        for name, value in expected.items():
            metric = found[grouping, group, name]
            assert (metric.value, metric.n) == (pytest.approx(value, abs=1e-9), len(e))

    check("element", "Mg", lambda s: "Mg" in s.species, lambda symbol: symbol == "Mg")
    check("element", "O", lambda s: True, lambda symbol: symbol == "O")
    check("source", "mp", lambda s: s.source == "mp", lambda symbol: True)
    check("n_elements", "2", lambda s: len(set(s.species)) == 2, lambda symbol: True)


def test_without_a_structure_there_is_no_group():
    assert compute_group_metrics([], []) == []


def test_a_model_on_another_energy_scale_is_told_and_one_on_the_same_is_not():
    structures = make_structures(30)
    predictions = make_predictions(structures, 1)
    shifted = [
        replace(p, energy_ev=p.energy_ev - 0.6 * s.n_atoms) for s, p in zip(structures, predictions, strict=True)
    ]
    assert find_offset(list(compute(structures, predictions).values())) is None
    assert "another scale" in find_offset(list(compute(structures, shifted).values()))


def test_a_model_that_made_the_labels_itself_is_told():
    labels = ["PBE", "7net-0 (surrogate, not DFT)"]
    assert "made by this model itself (7net-0" in find_own_labels(labels, "sevennet:7net-0")
    assert find_own_labels(labels, "heo-mini") is find_own_labels(labels[:1], "sevennet:7net-0") is None
    assert "(chgnet:0.3.0 (potential))" in find_own_labels(["chgnet:0.3.0 (potential)"], "chgnet:0.3.0")
    assert find_own_labels(["child@1 (potential)"], "other@1") is None


def test_labels_of_several_functionals_are_named_whatever_their_letters():
    assert find_mixed_functionals(["pbe", "PBE"]) is find_mixed_functionals([]) is None
    assert "(pbe, scan)" in find_mixed_functionals(["scan", "PBE", "pbe"])


def test_of_one_chemical_system_no_offset_is_taken_off_and_no_scale_is_said_to_be_another():
    structures = [replace(make_structures(1)[0], immutable_id=str(i)) for i in range(3)]
    predictions = [Prediction(s.energy_ev + 0.5 * s.n_atoms, s.forces_ev_per_ang) for s in structures]
    found = compute_metrics(structures, predictions, [], np.random.default_rng(0))
    values = {metric.name: (metric.value, metric.n) for metric in found}
    assert values["energy_rmse_ev_per_atom"] == (pytest.approx(0.5), 3)
    assert {values[f"energy_offset_removed_{part}_ev_per_atom"] for part in ("rmse", "mae", "median", "q95")} == {
        (None, 0)
    }
    assert find_offset(found) is None
    groups = compute_group_metrics(structures, predictions)
    assert {g.value for g in groups if "offset_removed" in g.name} == {None}
