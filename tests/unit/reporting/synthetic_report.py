"""A realistic report, made from a seed: 36 test structures, a parent and a child, all three kinds of benchmark."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from heo_core.reporting.data import ReportData, make_frame
from heo_core.reporting.scenes import choose_cases, choose_samples

BASELINE, CANDIDATE = "heo-mini@1", "heo-mini-sample@1"
CATIONS = ("Mg", "Ni", "Cu", "Co", "Zn", "Mn", "Fe", "Cr", "Ti", "Zr", "Y", "La", "Ba", "Sr", "Ca", "Al", "V", "Nb")
EF, RATTLE, SUBSTITUTION = "energy-forces-sample@1-test", "rattle-relax-sample@1-test", "substitution-relax-rocksalt"


ROCKSALT = {
    "lattice_ang": [[0, 2.1, 2.1], [2.1, 0, 2.1], [2.1, 2.1, 0]],
    "positions_ang": [[0, 0, 0], [2.1, 2.1, 2.1]],
    "species": ["Mg", "O"],
}


def make_synthetic_report(seed=0, n_structures=240, n_test=36, n_components=4000, candidates=(CANDIDATE,)):
    rng = np.random.default_rng(seed)
    labels = (BASELINE, *candidates)
    structures = _structures(rng, n_structures, n_test)
    predictions = _predictions(rng, structures[structures["split"] == "test"], labels)
    relaxations = _relaxations(rng, labels)
    return ReportData(
        title="heo-mini and its child finetuned on the sample",
        generated_at=datetime(2026, 11, 23, 18, 20, tzinfo=UTC),
        heo_version="0.1.0",
        models=_models(labels),
        dataset=_dataset(n_structures),
        rejections=make_frame(
            "rejections",
            [
                {"rule": "too_few_elements", "n_rejected": 61, "example_ids": ["heo-t-0101", "heo-t-0102"]},
                {"rule": "not_an_oxide", "n_rejected": 22, "example_ids": ["heo-t-0211"]},
                {
                    "rule": "force_too_large",
                    "n_rejected": 12,
                    "example_ids": ["heo-t-0301", "heo-t-0302", "heo-t-0303"],
                },
                {"rule": "duplicate", "n_rejected": 5, "example_ids": []},
            ],
        ),
        splits=make_frame(
            "splits",
            [
                {
                    "split": split,
                    "n_structures": len(rows),
                    "n_formulas": rows["formula_reduced"].nunique(),
                    "n_chemical_systems": rows["chemical_system"].nunique(),
                }
                for split, rows in structures.groupby("split")
            ],
        ),
        structures=structures,
        training_runs=_training_runs(candidates),
        epochs=_epochs(rng, candidates),
        benchmarks=_benchmarks(n_test),
        evaluations=_evaluations(labels),
        metrics=_metrics(labels, n_test),
        group_metrics=_group_metrics(labels),
        comparisons=_comparisons(candidates, n_test),
        sample_cells=make_frame("sample_cells", [{"structure_id": i, **ROCKSALT} for i in choose_samples(structures)]),
        relaxed_cells=_relaxed_cells(relaxations),
        predictions=predictions,
        force_components=_components(rng, structures, labels, n_components),
        relaxations=relaxations,
    )


def _models(labels):
    return make_frame(
        "models",
        [
            {
                "label": label,
                "name": label.split("@")[0],
                "version": 1,
                "family": "mace",
                "role": "candidate" if i else "baseline",
                "parent": BASELINE if i else None,
                "sha256": f"{i + 10:x}3f9c0d1" * 8,
                "licence": "MIT",
                "dataset": "sample@1" if i else None,
                "n_elements": 31,
                "created_at": datetime(2026, 11, 23, 17, i, tzinfo=UTC),
            }
            for i, label in enumerate(labels)
        ],
    )


def _dataset(n_kept):
    return {
        "label": "sample@1",
        "source_uri": "sample (bundled)",
        "source_revision": "9f3c2a1b77",
        "licence": "CC-BY-4.0",
        "citation": "Siron et al., LeMat-Bulk (2025); labels of SevenNet-0 (Park et al., JCTC 2024).",
        "label_kind": "surrogate",
        "functionals": ["surrogate:sevennet-0"],
        "n_scanned": n_kept + 100,
        "n_kept": n_kept,
        "params": {
            "source": "sample",
            "rules": {"min_elements": 5, "max_force_ev_per_ang": 10.0, "exclude_sources": []},
            "split": {"train": 0.7, "validation": 0.15, "test": 0.15, "group_by": "chemical_system", "seed": 0},
        },
    }


def _structures(rng, n, n_test):
    rows = []
    for i in range(n):
        cations = sorted(rng.choice(CATIONS, size=rng.integers(4, 8), replace=False).tolist())
        counts = rng.integers(1, 4, size=len(cations))
        formula = (
            "".join(f"{c}{k if k > 1 else ''}" for c, k in zip(cations, counts, strict=True)) + f"O{int(counts.sum())}"
        )
        split = "test" if i < n_test else "validation" if i < 2 * n_test else "train"
        rows.append(
            {
                "structure_id": i + 1,
                "immutable_id": f"heo-s-{i:04d}",
                "formula_reduced": formula,
                "chemical_system": "-".join(sorted([*cations, "O"])),
                "elements": sorted([*cations, "O"]),
                "n_elements": len(cations) + 1,
                "n_atoms": int(2 * counts.sum() * rng.choice([1, 2])),
                "split": split,
                "source": "heo",
                "energy_ev_per_atom": float(rng.normal(-6.5, 0.7)),
                "fmax_ev_per_ang": float(10 ** rng.normal(-0.6, 0.8)),
                "volume_per_atom_ang3": float(rng.normal(11, 1)),
                "entropy_sublattice_r": round(0.1 * (i % 18), 1),
                "space_group_symbol": ("Pnma", "Fm-3m", "P1")[i % 3],
                "prototype": ("rocksalt", "spinel", None)[i % 3],
                "map_method": "pca",
                "map_x": float(rng.normal()),
                "map_y": float(rng.normal()),
            }
        )
    return make_frame("structures", rows)


def _predictions(rng, test, labels):
    rows = [
        _prediction(rng, s, label, (1.0, 0.75, 0.9, 0.8, 0.85)[i])
        for i, label in enumerate(labels)
        for s in test.itertuples()
    ]
    return make_frame("predictions", rows)


def _prediction(rng, structure, label, scale):
    return {
        "label": label,
        "benchmark": EF,
        "structure_id": structure.structure_id,
        "immutable_id": structure.immutable_id,
        "formula_reduced": structure.formula_reduced,
        "n_atoms": structure.n_atoms,
        "energy_reference_ev_per_atom": structure.energy_ev_per_atom,
        "energy_predicted_ev_per_atom": structure.energy_ev_per_atom + scale * float(rng.normal(0.02, 0.04)),
        "forces_rmse_ev_per_ang": scale * 0.2 * float(np.exp(rng.normal(0, 0.5))),
        "forces_mae_ev_per_ang": scale * 0.13 * float(np.exp(rng.normal(0, 0.5))),
        "failure": None,
    }


def _components(rng, structures, labels, n):
    reference = rng.standard_t(3, size=n) * 0.5
    identifiers = rng.choice(structures["immutable_id"].to_numpy(), size=n)
    frames = [
        pd.DataFrame(
            {
                "label": label,
                "benchmark": EF,
                "structure_id": 1,
                "immutable_id": identifiers,
                "formula_reduced": "Mg2NiCuCoZnO6",
                "reference_ev_per_ang": reference,
                "predicted_ev_per_ang": (0.93 + 0.04 * i) * reference + rng.normal(0, 0.2 - 0.05 * min(i, 2), size=n),
            }
        )
        for i, label in enumerate(labels)
    ]
    return pd.concat(frames, ignore_index=True)


def _training_runs(candidates):
    return make_frame(
        "training_runs",
        [
            {
                "label": label,
                "foundation": BASELINE,
                "dataset": "sample@1",
                "strategy": "replay",
                "state": "finished",
                "failure": None,
                "n_train": 168,
                "n_validation": 36,
                "left_out": {"unknown element: Tb": 3},
                "best_epoch": 5,
                "wall_s": 74.2,
                "train_s": 70.1,
                "device": "cpu",
                "params": {"lr": 0.001, "max_num_epochs": 6, "loss": "universal", "forces_weight": 10.0, "seed": 0},
                "versions": {"mace-torch": "0.3.16", "torch": "2.9.0", "python": "3.12.1"},
            }
            for label in candidates
        ],
    )


def _epochs(rng, candidates):
    rows = []
    for i, label in enumerate(candidates):
        for epoch in range(7):
            fall = np.exp(-epoch / 2.5) + 0.05 * rng.random() + 0.1 * i
            rows.append(
                {
                    "label": label,
                    "epoch": epoch,
                    "train_loss": None if epoch == 0 else 0.05 + 0.6 * fall,
                    "validation_loss": 0.06 + 0.5 * fall,
                    "energy_rmse_ev_per_atom": 0.03 + 0.02 * fall,
                    "energy_mae_ev_per_atom": 0.022 + 0.015 * fall,
                    "forces_rmse_ev_per_ang": 0.15 + 0.08 * fall,
                    "forces_mae_ev_per_ang": 0.1 + 0.05 * fall,
                    "forces_q95_ev_per_ang": 0.3 + 0.15 * fall,
                    "lr": None if epoch == 0 else 0.001 * 0.8**epoch,
                    "seconds": 11.0,
                }
            )
    return make_frame("epochs", rows)


def _benchmarks(n_test):
    relax = {"fmax": 0.05, "max_force_calls": 200, "optimizer": "lbfgs", "cell_filter": "frechet"}
    rows = [
        (EF, "energy-forces", n_test, None, {"split": "test", "dtype": "float64"}),
        (RATTLE, "rattle-relax", 8, None, {"rattle_ang": 0.05, "seed": 0, "relax": relax}),
        (
            SUBSTITUTION,
            "substitution-relax",
            8,
            "chgnet:0.3.0",
            {"composition": "Mg0.2Ni0.2Cu0.2Co0.2Zn0.2O", "relax": relax},
        ),
    ]
    names = ("benchmark", "kind", "n_cases", "reference", "params")
    return make_frame("benchmarks", [dict(zip(names, row, strict=True), version=1) for row in rows])


# name: (baseline, candidate, half width of the interval)
EF_METRICS = {
    "forces_rmse_ev_per_ang": ("eV/Å", 0.222, 0.171, 0.018),
    "forces_mae_ev_per_ang": ("eV/Å", 0.141, 0.108, 0.012),
    "forces_q95_ev_per_ang": ("eV/Å", 0.430, 0.331, 0.04),
    "forces_cosine": ("", 0.91, 0.94, 0.01),
    "zero_force_rmse_ev_per_ang": ("eV/Å", 0.71, 0.71, 0.06),
    "forces_skill": ("", 0.69, 0.76, 0.03),
    "forces_softening_slope": ("", 0.945, 0.968, 0.012),
    "energy_rmse_ev_per_atom": ("eV/atom", 0.043, 0.041, 0.006),
    "energy_mae_ev_per_atom": ("eV/atom", 0.035, 0.033, 0.004),
    "energy_mean_removed_rmse_ev_per_atom": ("eV/atom", 0.039, 0.032, 0.005),
    "mean_energy_baseline_rmse_ev_per_atom": ("eV/atom", 0.19, 0.19, 0.02),
    "energy_skill": ("", 0.77, 0.78, 0.04),
    "failed_count": ("structures", 0, 0, None),
}
RATTLE_METRICS = {
    "convergence_rate": ("", 0.875, 1.0, 0.2),
    "success_at_50": ("", 0.375, 0.5, 0.3),
    "success_at_100": ("", 0.625, 0.875, 0.25),
    "force_calls_median": ("calls", 81, 62, 18),
    "displacement_rmsd_mean_ang": ("Å", 0.081, 0.063, 0.009),
    "volume_change_mean_fraction": ("", 0.012, 0.004, 0.004),
    "failed_count": ("structures", 0, 0, None),
}
SUBSTITUTION_METRICS = {
    "convergence_rate": ("", 1.0, 1.0, 0.0),
    "success_at_100": ("", 0.875, 1.0, 0.2),
    "force_calls_median": ("calls", 71, 66, 9),
    "energy_final_mean_ev_per_atom": ("eV/atom", -6.3371, -6.3522, 0.004),
    "reference_energy_mean_ev_per_atom": ("eV/atom", -6.2712, -6.2741, 0.002),
}
DIFFERENCES = {
    (EF, "forces_rmse_ev_per_ang"): (-0.051, -0.066, -0.038),
    (EF, "energy_rmse_ev_per_atom"): (-0.002, -0.006, 0.003),
    (EF, "forces_softening_slope"): (0.023, 0.01, 0.034),
    (RATTLE, "displacement_rmsd_mean_ang"): (-0.018, -0.027, -0.009),
    (RATTLE, "success_at_100"): (0.25, 0.0, 0.5),
    (SUBSTITUTION, "reference_energy_mean_ev_per_atom"): (-0.0029, -0.0044, -0.0013),
    (SUBSTITUTION, "success_at_100"): (0.125, 0.0, 0.375),
}
KINDS = {EF: "energy-forces", RATTLE: "rattle-relax", SUBSTITUTION: "substitution-relax"}


def _metrics(labels, n_test):
    rows = []
    for benchmark, table in ((EF, EF_METRICS), (RATTLE, RATTLE_METRICS), (SUBSTITUTION, SUBSTITUTION_METRICS)):
        for i, label in enumerate(labels):
            for name, (unit, before, after, half) in table.items():
                value = before if i == 0 else after + (i - 1) * 0.3 * (before - after)
                rows.append(
                    {
                        "label": label,
                        "benchmark": benchmark,
                        "kind": KINDS[benchmark],
                        "name": name,
                        "value": value,
                        "unit": unit,
                        "n": n_test if benchmark == EF else 8,
                        "ci_low": None if half is None else value - half,
                        "ci_high": None if half is None else value + 1.2 * half,
                    }
                )
    return make_frame("metrics", rows)


def _comparisons(candidates, n_test):
    return make_frame(
        "comparisons",
        [
            {
                "benchmark": benchmark,
                "kind": KINDS[benchmark],
                "baseline": BASELINE,
                "candidate": candidate,
                "name": name,
                "value": value,
                "unit": "",
                "n": n_test if benchmark == EF else 8,
                "ci_low": low,
                "ci_high": high,
            }
            for candidate in candidates
            for (benchmark, name), (value, low, high) in DIFFERENCES.items()
        ],
    )


def _evaluations(labels):
    return make_frame(
        "evaluations",
        [
            {"label": label, "benchmark": benchmark, "device": "cpu", "dtype": "float64", "wall_s": 30.0 + 4 * i}
            for i, label in enumerate(labels)
            for benchmark in KINDS
        ],
    )


def _group_metrics(labels):
    groups = [*(("element", c) for c in CATIONS), *(("n_elements", n) for n in "5678"), ("source", "heo")]
    numbers = (("forces_mae_ev_per_ang", "eV/Å", 0.1), ("energy_offset_removed_mae_ev_per_atom", "eV/atom", 0.03))
    return make_frame(
        "group_metrics",
        [
            {
                "label": label,
                "benchmark": EF,
                "kind": "energy-forces",
                "grouping": grouping,
                "group_name": group,
                "name": name,
                "value": (1 + 0.05 * place) * (1 - 0.2 * i) * size,
                "unit": unit,
                "n": 4 + place,
            }
            for i, label in enumerate(labels)
            for place, (grouping, group) in enumerate(groups)
            for name, unit, size in numbers
        ],
    )


def _relaxations(rng, labels):
    rows = []
    for benchmark in (RATTLE, SUBSTITUTION):
        for case in range(8):
            offset = float(rng.normal(0, 0.01))
            for i, label in enumerate(labels):
                calls = 200 if (case, i, benchmark) == (3, 0, RATTLE) else int(rng.integers(35, 130) * (1 - 0.12 * i))
                rows.append(_relaxation(rng, benchmark, case, label, i, calls, offset))
    return make_frame("relaxations", rows)


def _relaxation(rng, benchmark, case, label, place, calls, offset):
    rattle = benchmark == RATTLE
    fmax = 0.9 * np.exp(-np.linspace(0, np.log(0.9 / 0.045), calls)) * np.exp(rng.normal(0, 0.15, calls))
    fmax[-1] = 0.083 if calls == 200 else 0.047
    energies = -6.3 * 64 + 64 * 0.08 * np.exp(-np.linspace(0, 7, calls))
    return {
        "label": label,
        "benchmark": benchmark,
        "kind": KINDS[benchmark],
        "case_index": case,
        "case_id": f"heo-s-{case:04d}/rattle-0" if rattle else f"rocksalt-2x2x2-seed{case}",
        "formula_reduced": "Mg2NiCuCoZnO6" if rattle else "Co6Cu6Mg7Ni7Zn6O32",
        "n_atoms": 64,
        "rattle_ang": 0.05 if rattle else 0.1,
        "converged": calls < 200,
        "failure": None if calls < 200 else "not converged in 200 force calls",
        "force_calls": calls,
        "fmax_ev_per_ang": float(fmax[-1]),
        "cell_fmax_ev_per_ang": 0.01,
        "energy_final_ev_per_atom": -6.3 + offset,
        "reference_energy_ev_per_atom": None if rattle else -6.27 + offset - place * float(rng.normal(0.003, 0.002)),
        "displacement_rmsd_ang": float(abs(rng.normal(0.08 - 0.018 * place, 0.02))) if rattle else None,
        "volume_change_fraction": float(rng.normal(0.012 - 0.008 * place, 0.006)),
        "energy_above_unrattled_ev_per_atom": float(abs(rng.normal(0, 0.001))),
        "energies_ev": energies.tolist(),
        "fmaxes_ev_per_ang": fmax.tolist(),
    }


def _relaxed_cells(relaxations):
    return make_frame(
        "relaxed_cells",
        [
            {"benchmark": benchmark, "case_index": case, "label": label, **ROCKSALT}
            for benchmark, rows in relaxations.groupby("benchmark")
            for case in choose_cases(rows)
            for label in (None, *dict.fromkeys(rows["label"]))
        ],
    )


def make_softened_report():
    """The metric trap: the child halves the force error on relaxed end points and is a third too soft."""
    data = make_synthetic_report()
    structures = data.structures.assign(fmax_ev_per_ang=0.01)
    metrics = data.metrics.copy()
    for name, before, after in (
        ("forces_rmse_ev_per_ang", 0.314, 0.185),
        ("zero_force_rmse_ev_per_ang", 0.0298, 0.0298),
        ("forces_softening_slope", 0.945, 0.635),
        ("energy_rmse_ev_per_atom", 0.123, 0.142),
    ):
        for label, value in ((BASELINE, before), (CANDIDATE, after)):
            chosen = (metrics["label"] == label) & (metrics["benchmark"] == EF) & (metrics["name"] == name)
            metrics.loc[chosen, ["value", "ci_low", "ci_high"]] = [value, 0.95 * value, 1.05 * value]
    comparisons = data.comparisons.copy()
    for name, value, low, high in (
        ("forces_rmse_ev_per_ang", -0.129, -0.15, -0.11),
        ("forces_softening_slope", -0.31, -0.35, -0.28),
        ("energy_rmse_ev_per_atom", 0.019, 0.008, 0.031),
    ):
        chosen = (comparisons["benchmark"] == EF) & (comparisons["name"] == name)
        comparisons.loc[chosen, ["value", "ci_low", "ci_high"]] = [value, low, high]
    return replace(data, structures=structures, metrics=metrics, comparisons=comparisons)


def make_hostile_report(text):
    """The same numbers, with `text` wherever the data may bring a string from outside."""
    data = make_synthetic_report(candidates=(f"child{text}",))
    changed = {
        "title": f"report {text}",
        "dataset": {
            **data.dataset,
            "label": text,
            "source_uri": text,
            "citation": text,
            "functionals": [text],
            "params": {text: text},
        },
        "rejections": data.rejections.assign(
            rule=[f"{i}{text}" for i in range(len(data.rejections))], example_ids=[[text]] * 4
        ),
        "structures": data.structures.assign(
            formula_reduced=f"MgO{text}",
            immutable_id=f"id{text}",
            source=text,
            space_group_symbol=text,
            prototype=text,
            elements=[[text]] * len(data.structures),
        ),
        "predictions": data.predictions.assign(formula_reduced=f"MgO{text}", immutable_id=f"id{text}"),
        "relaxations": data.relaxations.assign(formula_reduced=f"MgO{text}", case_id=f"case{text}"),
        "force_components": data.force_components.assign(immutable_id=f"id{text}", formula_reduced=f"MgO{text}"),
        "training_runs": data.training_runs.assign(
            failure=text, device=text, left_out=[{text: 2}], e0_outliers=[{text: 0.3}], params=[{text: text}]
        ),
        "splits": data.splits.assign(split=[f"{i}{text}" for i in range(3)]),
        "models": data.models.assign(
            licence=text,
            reference=text,
            energy_scale=text,
            code_version=text,
            device=text,
            package_versions=[{text: text}] * 2,
            warnings=[[text]] * 2,
        ),
        "evaluations": data.evaluations.assign(cautions=[[text]] * len(data.evaluations), device=text),
        "comparisons": data.comparisons.assign(caution=text),
        "group_metrics": data.group_metrics.assign(group_name=text),
        "own_relaxations": data.relaxations.assign(formula_reduced=f"MgO{text}", case_id=text, failure=text),
        "trials": make_frame(
            "trials",
            [{"label": text, "sweep": text, "strategy": text, "state": text, "failure": text, "params": {text: text}}],
        ),
        "physics_checks": make_frame(
            "physics_checks",
            [
                {
                    "label": BASELINE,
                    "benchmark": text,
                    "kind": "repulsion",
                    "subject": text,
                    "name": "energy_flips",
                    "failure": text,
                }
            ],
        ),
        "volume_curves": make_frame(
            "volume_curves", [{"label": BASELINE, "benchmark": "eos", "material": text, "failure": text}]
        ),
    }
    changed["predictions"].loc[0, "failure"] = text
    changed["relaxations"].loc[0, ["converged", "failure"]] = [False, text]
    changed["relaxed_cells"] = data.relaxed_cells.assign(species=[[text, "O"]] * len(data.relaxed_cells))
    changed["sample_cells"] = data.sample_cells.assign(species=[[text, "O"]] * len(data.sample_cells))
    for name in (
        "benchmarks",
        "metrics",
        "group_metrics",
        "evaluations",
        "comparisons",
        "predictions",
        "relaxations",
        "own_relaxations",
        "relaxed_cells",
    ):
        frame = changed.get(name, getattr(data, name))
        changed[name] = frame.assign(benchmark=frame["benchmark"] + text)
    return replace(data, **changed)
