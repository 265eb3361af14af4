"""Benchmarks of one's own, two families side by side on every kind, and evaluations that are run again."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from querying import query
from typer.testing import CliRunner

from db import evaluations
from db.engine import session_scope
from db.models import get_registered_model
from db.reports import load_report_data
from heo_core.errors import InputError
from heo_core.evaluation.reference_sets import load_reference_set
from heo_core.params import (
    EnergyForcesParams,
    EvaluationParams,
    OffEquilibriumErrorsParams,
    PhysicsParams,
    RattleRelaxParams,
    RelaxParams,
    SubstitutionRelaxParams,
)
from heo_core.records import Structure

pytestmark = pytest.mark.timeout(600)

MODELS = ("heo-mini", "chgnet:0.3.0")
BRIEFLY = RelaxParams(max_force_calls=4)


@pytest.fixture
def cells() -> list[Structure]:
    """Six labelled cells of five systems, ten atoms each."""
    found = [case.start for case in load_reference_set("off-equilibrium") if case.start.n_atoms == 10]
    return found[:6]


def write(structures: list[Structure], path: Path) -> Path:
    frames = []
    for structure in structures:
        atoms = Atoms(structure.species, positions=structure.positions, cell=structure.lattice, pbc=True)
        atoms.info |= {"REF_energy": structure.energy_ev, "REF_stress": structure.stress_ev_per_ang3}
        atoms.arrays["REF_forces"] = structure.forces_ev_per_ang
        frames.append(atoms)
    ase.io.write(path, frames, format="extxyz")
    return path


def test_two_families_run_through_every_kind_and_what_cannot_be_compared_is_said(
    home: Path, cells: list[Structure], tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.benchmarks import add_own_benchmark, physics
    from flows.evaluate import evaluate

    # Two oxides are enough here.
    monkeypatch.setattr(
        physics,
        "load_reference_set",
        lambda name: load_reference_set(name)[: 18 if name == "equation-of-state" else None],
    )
    relaxed = [c.start for c in load_reference_set("holdout") if c.recipe["kind"] == "relaxed" and c.start.n_atoms == 2]
    off, rest = write(cells, tmp_path / "off.xyz"), write(relaxed[:1], tmp_path / "rest.xyz")
    add_own_benchmark("off", OffEquilibriumErrorsParams(), files=[off])
    add_own_benchmark("plain", EnergyForcesParams(), files=[off])
    add_own_benchmark("rest", RattleRelaxParams(relax=BRIEFLY), files=[rest])
    params = EvaluationParams(
        models=MODELS,
        benchmarks=("substitution-relax", "physics"),
        stored_benchmarks=("off", "plain@1", "rest"),
        substitution_relax=SubstitutionRelaxParams(
            composition="Mg0.5Ni0.5O", supercell=(1, 1, 1), n_cells=2, reference="heo-mini", relax=BRIEFLY
        ),
        physics=PhysicsParams(n_cells=1, n_steps=10, metals=("Mg", "Xe")),
    )
    ids = evaluate(params)
    assert query(database_url, "select distinct state from evaluation") == [("completed",)]
    assert len(set(ids)) == 10
    dtypes = "select distinct name, evaluation.dtype from evaluation join model_version m on m.id = model_version_id"
    assert sorted(query(database_url, dtypes)) == [("chgnet-0.3.0", "float32"), ("heo-mini", "float64")]

    cautions = [sentence for (sentence,) in query(database_url, "select unnest(cautions) from evaluation")]
    assert "chgnet-0.3.0@1 on off@1: it computes in float32, not in float64 as was asked" in cautions
    assert any(c.startswith("chgnet-0.3.0@1 on plain@1: energies stand on another scale than the") for c in cautions)
    assert not any("heo-mini@1" in caution and "scale" in caution for caution in cautions)
    flagged = query(database_url, "select distinct name, caution from comparison where caution is not null order by 1")
    judged = "reference_energy_mean_ev_per_atom"
    assert [name for name, _ in flagged] == ["energy_mae_ev_per_atom", "energy_rmse_ev_per_atom", judged]
    assert "(pbe-uncorrected) and chgnet-0.3.0@1 (mp2020-corrected) stand on two scales" in flagged[0][1]
    assert "heo-mini@1 is the common reference itself" in flagged[2][1]

    # Elements, one source and one number of elements, on both benchmarks of these cells, from both models.
    groups = query(database_url, "select grouping, count(distinct group_name), count(*) from group_metric group by 1")
    n_elements = len({symbol for cell in cells for symbol in cell.species})
    n_sizes = len({len(cell.elements) for cell in cells})
    assert {grouping: n for grouping, n, _ in groups} == {"element": n_elements, "n_elements": n_sizes, "source": 1}
    assert {rows // n for _, n, rows in groups} == {8 * 2 * 2}

    numbers = "select metric, value from evaluation_metric where benchmark = 'off@1' and model = 'chgnet-0.3.0@1'"
    stored = dict(query(database_url, numbers))
    rows = query(
        database_url,
        """
        select s.energy_ev, p.energy_ev, s.forces_ev_per_ang, p.forces_ev_per_ang, p.stress_rmse_ev_per_ang3
        from prediction p join structure s on s.id = p.structure_id join evaluation e on e.id = p.evaluation_id
        join benchmark b on b.id = e.benchmark_id join model_version m on m.id = e.model_version_id
        where b.name = 'off' and m.name = 'chgnet-0.3.0'
        """,
    )
    assert len(rows) == 6
    energies = np.array([(predicted - reference) / 10 for reference, predicted, *_ in rows])
    forces = np.array([np.array(predicted) - np.array(reference) for _, _, reference, predicted, _ in rows])
    assert stored["energy_rmse_ev_per_atom"] == pytest.approx(np.sqrt(np.mean(energies**2)), abs=1e-9)
    assert stored["forces_mae_ev_per_ang"] == pytest.approx(np.mean(np.abs(forces)), abs=1e-9)
    stresses = np.array([stress for *_, stress in rows])
    assert stored["stress_rmse_ev_per_ang3"] == pytest.approx(np.sqrt(np.mean(stresses**2)), abs=1e-9)

    failed = query(
        database_url,
        """
        select distinct m.name, c.subject, c.failure from physics_check c join evaluation e on e.id = c.evaluation_id
        join model_version m on m.id = e.model_version_id where c.kind = 'repulsion' and c.failure is not null
        """,
    )
    assert failed == [("heo-mini", "Xe-O", "unknown element: Xe")]
    deviations = dict(
        query(
            database_url, "select model, value from evaluation_metric where metric = 'forces_deviation_max_ev_per_ang'"
        )
    )
    assert deviations["heo-mini@1"] < 1e-4 < deviations["chgnet-0.3.0@1"] < 0.1
    kept = query(database_url, "select symmetry_kept_1e2, rmsd_normalized from relaxation where case_index = 0")
    assert [symmetry for symmetry, rmsd in kept if rmsd is not None] == [True, True]

    with session_scope(database_url) as session:
        data = load_report_data(
            session, [get_registered_model(session, name).id for name in ("heo-mini", "chgnet-0.3.0")]
        )
    labels = {"heo-mini@1", "chgnet-0.3.0@1"}
    benchmarks = data.benchmarks.set_index("kind")
    assert benchmarks.loc["rattle-relax", ["n_cases", "n_structures"]].tolist() == [2, 1]
    assert benchmarks.loc["substitution-relax", "n_structures"] == 2
    assert benchmarks.loc["substitution-relax", "functionals"] == []
    assert set(data.comparisons.loc[data.comparisons["caution"].notna(), "name"]) == {name for name, _ in flagged}
    assert {sentence for told in data.evaluations["cautions"] for sentence in told} == set(cautions)
    distances = data.physics_curves[data.physics_curves["subject"] == "Mg-O"]
    assert set(distances["label"]) == labels
    assert distances["x"].agg(["min", "max"]).tolist() == [0.6, 3.0]
    assert set(data.physics_checks["label"]) == labels
    starts = data.relaxed_cells["label"].isna()
    assert starts.sum() == 4  # two of a rattled cell, two substituted ones
    assert set(data.relaxed_cells.loc[~starts, "label"]) == labels


def test_an_evaluation_that_is_run_again_keeps_its_numbers_until_the_new_ones_are_complete(
    home: Path, cells: list[Structure], tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import flows.benchmarks
    from flows.evaluate import evaluate

    file = write(cells, tmp_path / "off.xyz")
    flows.benchmarks.add_own_benchmark("off", OffEquilibriumErrorsParams(), files=[file])
    params = EvaluationParams(models=MODELS, benchmarks=(), stored_benchmarks=("off",))
    first = evaluate(params)
    numbers = "select model, metric, value, ci_low, ci_high, n from evaluation_metric order by 1, 2"
    before = query(database_url, numbers)

    compute = flows.benchmarks.reference_errors.compute_metrics

    def fail(*args: object) -> None:
        raise RuntimeError("killed")

    again = params.model_copy(update={"models": ("heo-mini",), "force": True})
    monkeypatch.setattr(flows.benchmarks.reference_errors, "compute_metrics", fail)
    with pytest.raises(RuntimeError, match="killed"):
        evaluate(again)
    assert query(database_url, numbers) == before
    assert query(database_url, "select state, replaces_id from evaluation where replaces_id is not null") == [
        ("failed", first[0])
    ]
    assert evaluate(params) == first

    monkeypatch.setattr(flows.benchmarks.reference_errors, "compute_metrics", compute)
    (new,) = evaluate(again)
    assert new not in first
    assert query(database_url, numbers) == before
    assert query(database_url, "select id, replaces_id from evaluation order by 1") == [(first[1], None), (new, None)]
    assert query(database_url, "select distinct baseline_id, candidate_id from comparison") == [(new, first[1])]
    assert query(database_url, "select count(*) from prediction") == [(12,)]
    assert evaluate(params) == [new, first[1]]


def test_a_benchmark_of_ones_own_is_versioned_listed_and_refused_where_it_makes_no_sense(
    home: Path, cells: list[Structure], tmp_path: Path, database_url: str
) -> None:
    from deploy.cli.main import app
    from flows.benchmarks import add_own_benchmark, find_benchmark, store_auto_benchmarks
    from flows.evaluate import evaluate

    file = write(cells, tmp_path / "off.xyz")
    assert add_own_benchmark("mine", OffEquilibriumErrorsParams(), files=[file]) == "mine@1"
    assert add_own_benchmark("mine", OffEquilibriumErrorsParams(), files=[file]) == "mine@1"
    fewer = write(cells[:3], tmp_path / "fewer.xyz")
    assert add_own_benchmark("mine", OffEquilibriumErrorsParams(), files=[fewer]) == "mine@2"
    rows = json.loads(CliRunner().invoke(app, ["benchmark", "list", "--json"]).output)
    assert [(row["benchmark"], row["kind"], row["structures"]) for row in rows] == [
        ("mine@2", "off-equilibrium", 3),
        ("mine@1", "off-equilibrium", 6),
    ]
    shown = json.loads(CliRunner().invoke(app, ["benchmark", "show", "mine@1", "--json"]).output)
    # Files have no split: none is shown.
    assert (shown["params"], shown["evaluations"]) == ({"kind": "off-equilibrium", "dtype": "float64"}, [])

    with pytest.raises(
        InputError,
        match=r"no benchmark 'yours'; allowed: energy-forces, .*, dft-offeq, or a stored one: mine@2, mine@1",
    ):
        evaluate(EvaluationParams(models=("heo-mini",), benchmarks=(), stored_benchmarks=("yours",)))
    for taken in ("physics", "dft-offeq", "holdout"):
        with pytest.raises(InputError, match=f"cannot be called '{taken}': .* any name but .*dft-offeq.*, holdout, "):
            add_own_benchmark(taken, PhysicsParams())
    # One that was called so before the name was taken stays what it is, and stops no model.
    with session_scope(database_url) as session:
        evaluations.add_benchmark(
            session, OffEquilibriumErrorsParams(), [], name="dft-offeq", dataset_id=None, reference_id=None
        )
    store_auto_benchmarks()
    with pytest.raises(InputError, match="dft-offeq@1 is a benchmark of your own; the bundled cells called dft-offeq"):
        find_benchmark.fn("dft-offeq")
    find_benchmark.fn("dft-offeq@1")
    with pytest.raises(InputError, match="off-equilibrium takes a dataset or files; given: dataset None, 0 files"):
        add_own_benchmark("none", OffEquilibriumErrorsParams())
    with pytest.raises(InputError, match="physics takes neither dataset nor files"):
        add_own_benchmark("both", PhysicsParams(), files=[file])
    with pytest.raises(InputError, match="benchmark far would have no structure"):
        add_own_benchmark("far", RattleRelaxParams(), files=[file])
