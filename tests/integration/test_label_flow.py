"""Labels: a durable row a structure, on one scale, that models are measured on, trained on and compared by."""

from __future__ import annotations

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.build import bulk
from ase.io import read, write
from sqlalchemy import delete, func, select, update
from typer.testing import CliRunner

from db import datasets, evaluations, labels, models, schema
from db.check import check_rows
from db.engine import session_scope
from db.query import run_query
from db.reports import load_report_data
from db.reports.minima import load_labelled_minima
from db.schema import Evaluation, Relaxation
from deploy.cli.main import app
from flows.settings import load_settings
from heo_core.curation.labelled import read_labelled
from heo_core.errors import InputError
from heo_core.labelling.label import Label, Origin, Wanted
from heo_core.models import resolve_model
from heo_core.params import (
    CurationParams,
    EvaluationParams,
    LabelParams,
    OffEquilibriumErrorsParams,
    RelaxParams,
    RuleParams,
    SubstitutionRelaxParams,
)
from heo_core.records import BenchmarkCase, ModelFile, Structure
from heo_core.reporting.answer import compute_statements

REAL_RUN = Path(ase.__file__).parent / "test" / "testdata" / "vasp" / "vasprun_dfpt.xml"


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Two oxides, and one that heo-mini does not know."""
    frames = [bulk(formula, "rocksalt", a=4.3) for formula in ("MgO", "NiO", "XeO")]
    for number, frame in enumerate(frames):
        frame.rattle(0.05, seed=number)
    write(tmp_path / "cells.extxyz", frames)
    return tmp_path / "cells.extxyz"


def load_summary(url: str, name: str) -> dict:
    with session_scope(url) as session:
        return labels.summarise(session, name)


def test_a_potential_labels_each_structure_once_and_what_fails_is_a_row(
    home: Path, cells: Path, database_url: str, tmp_path: Path
) -> None:
    from flows.curate import curate
    from flows.label import label_structures

    params = LabelParams(name="mini", engine="heo-mini", files=(str(cells),))
    assert label_structures(params) == {"labels": "mini", "n_labelled": 2}
    first = load_summary(database_url, "mini")
    assert [row["failure"] for row in first["structures"]] == [None, None, "unknown element: Xe"]
    assert first["structures"][2]["energy_ev_per_atom"] is None
    assert label_structures(params) == {"labels": "mini", "n_labelled": 2}
    assert load_summary(database_url, "mini") == first
    label_structures(params.model_copy(update={"retry_failed": True}))
    again = load_summary(database_url, "mini")
    assert again["structures"][:2] == first["structures"][:2]
    assert again["structures"][2]["wall_s"] != first["structures"][2]["wall_s"]

    with pytest.raises(InputError, match=r"label set 'mini' has engine potential, not gpaw: .* never mixed"):
        label_structures(LabelParams(name="mini", engine="gpaw", files=(str(cells),)))

    out = tmp_path / "mini.extxyz"
    result = CliRunner().invoke(app, ["label", "export", "mini", "--out", str(out)], catch_exceptions=False)
    assert "structures  2" in result.stdout
    exported = read_labelled(out)
    with session_scope(database_url) as session:
        stored = labels.load_labelled(session, "mini")
    assert {s.content_hash for s in exported} == {s.content_hash for s in stored}
    assert {s.functional for s in stored} == {"heo-mini (potential)"}

    rules = RuleParams(min_elements=0, only_metals=False)
    dataset_id = curate(CurationParams(name="of-labels", source="labels:mini", rules=rules, map="none"))
    with session_scope(database_url) as session:
        members = [structure for structure, _ in datasets.iter_split(session, dataset_id, None)]
        assert datasets.summarise(session, dataset_id)["source"] == "labels:mini"
    assert {s.content_hash for s in members} == {s.content_hash for s in stored}


def test_a_model_is_measured_on_a_label_set_and_on_its_own_labels_it_makes_no_error(
    home: Path, cells: Path, database_url: str
) -> None:
    from flows.benchmarks import add_own_benchmark, store_benchmark
    from flows.evaluate import evaluate
    from flows.label import label_structures

    label_structures(LabelParams(name="mini", engine="heo-mini", files=(str(cells),)))
    on_labels = OffEquilibriumErrorsParams(dataset="labels:mini")
    stored = store_benchmark(on_labels, None)
    assert (stored.name, stored.version, stored.n_cases, stored.auto) == ("off-equilibrium:labels:mini", 1, 2, False)
    assert add_own_benchmark("own", OffEquilibriumErrorsParams(), dataset="labels:mini") == "own@1"
    params = EvaluationParams(models=("heo-mini",), benchmarks=("off-equilibrium",), off_equilibrium=on_labels)
    (evaluation_id,) = evaluate(params)
    with session_scope(database_url) as session:
        metrics = {row["metric"]: row["value"] for row in evaluations.list_metrics(session, [evaluation_id])}
    assert metrics["forces_rmse_ev_per_ang"] == pytest.approx(0, abs=1e-6)
    assert metrics["forces_softening_slope"] == pytest.approx(1, abs=1e-6)


def test_of_two_runs_with_two_versions_only_one_gives_a_set_its_first_label(database_url: str) -> None:
    cell = Structure(np.eye(3) * 4.2, np.array([[0.0, 0, 0], [2.1, 2.1, 2.1]]), ("Mg", "O"), "MgO", "generated")
    with session_scope(database_url) as session:
        label_set = labels.open_label_set(session, "dft", engine="gpaw", functional="pbe+u (gpaw)", settings={})

    def add_first(version: str, *, hold: threading.Event | None = None) -> None:
        label = Label(1.0, None, -10.0, np.zeros((2, 3)), versions={"gpaw": version})
        with session_scope(database_url) as session:
            labels.check_versions(session, label_set, label.versions)
            if hold is not None:
                checked.set()
                hold.wait(10)
            labels.add_label(session, label_set, cell, label)

    checked, go_on = threading.Event(), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(add_first, "26.7.0", hold=go_on)
        assert checked.wait(10)
        second = pool.submit(add_first, "27.1.0")
        with pytest.raises(TimeoutError):
            second.result(timeout=0.5)
        go_on.set()
        first.result()
        with pytest.raises(InputError, match=r"has labels by gpaw 26.7.0, not 27.1.0"):
            second.result()


def test_the_lower_minimum_is_the_one_that_the_labels_call_lower(database_url: str) -> None:
    lattice, ideal = np.eye(3) * 4.2, np.array([[0.0, 0, 0], [2.1, 2.1, 2.1]])
    start = Structure(lattice, ideal, ("Mg", "O"), "MgO", "generated")
    with session_scope(database_url) as session:
        case = BenchmarkCase(start, None, {"cell": 7})
        benchmark = evaluations.add_benchmark(
            session, SubstitutionRelaxParams(), [case], name="relax", dataset_id=None, reference_id=None
        )
        label_set = labels.open_label_set(session, "dft", engine="gpaw", functional="pbe+u (gpaw)", settings={"u": 1})
        with pytest.raises(InputError, match="label set 'dft' has other u: energies of two scales are never mixed"):
            labels.open_label_set(session, "dft", engine="gpaw", functional="pbe+u (gpaw)", settings={"u": 2})
        # Two of four models are neither lower nor higher: one's calculation failed, one had not come to rest.
        for name, energy in (("high", -10.0), ("low", -10.5), ("failed", None), ("restless", -11.0)):
            file = ModelFile("mace", name, name, name * 8)
            model, _ = models.register_published_model(session, file, name=name, size_bytes=1, energy_scale=None)
            evaluations.start_evaluation(session, model.id, benchmark.id, flow_run_id=None, replaces_id=None)
            final = replace(start, immutable_id=f"MgO/{name}@1")
            label = Label(1.0, None if energy else "not converged", energy, np.zeros((2, 3)) if energy else None)
            label = replace(label, total_moment_mub=4.0)
            origin = Origin(benchmark.id, 0, model.id, converged=name != "restless")
            labels.set_origins(session, label_set.id, [Wanted(final, origin)])
            # One that failed has no energy that versions could mix.
            version = "26.7.0" if energy else "25.1.0"
            labels.add_label(session, label_set, final, replace(label, versions={"gpaw": version}))
        scale = {"engine": "gpaw", "functional": "pbe+u (gpaw)", "settings": {"u": 1}}
        assert labels.open_label_set(session, "dft", **scale, versions={"gpaw": "26.7.0"}).id == label_set.id
        with pytest.raises(InputError, match=r"has labels by gpaw 26.7.0, not 27.1.0: .* never mixed"):
            labels.open_label_set(session, "dft", **scale, versions={"gpaw": "27.1.0"})
    lowest = "select model, above_lowest_ev_per_atom, n_models from label_minimum order by 2"
    rows = run_query(database_url, lowest)
    assert rows.to_dict("records") == [
        {"model": "low@1", "above_lowest_ev_per_atom": 0.0, "n_models": 2},
        {"model": "high@1", "above_lowest_ev_per_atom": 0.25, "n_models": 2},
    ]
    with session_scope(database_url) as session:
        low = evaluations.find_evaluation(session, models.get_registered_model(session, "low").id, benchmark.id)
        state = {"lattice_ang": (lattice * 1.01).tolist(), "positions_ang": (ideal * 1.01).tolist()}
        course = {"force_calls": 3, "wall_s": 1.0, "energies_ev": [], "fmaxes_ev_per_ang": []}
        session.add(Relaxation(evaluation_id=low.id, case_index=0, converged=True, **state, **course))
        evaluations.complete_evaluation(session, low.id, [], 1.0)
        (wanted,) = labels.iter_wanted(session, LabelParams(benchmark="relax", relaxed_by=("low",)))
        assert wanted.structure.immutable_id == "MgO/low@1"
        assert wanted.origin == Origin(benchmark.id, 0, low.model_version_id, converged=True)
        np.testing.assert_array_equal(wanted.structure.positions, ideal * 1.01)
        with pytest.raises(InputError, match="high@1 has no completed evaluation on relax@1"):
            list(labels.iter_wanted(session, LabelParams(benchmark="relax", relaxed_by=("high",))))
        names = {models.get_registered_model(session, name).id: name for name in ("high", "low", "restless")}
        minima = load_labelled_minima(session, [(low, benchmark)], names)
        assert {row["label"]: (row["energy_ev_per_atom"], row["origin"]) for row in minima} == {
            "high": (-5.0, "7"),
            "low": (-5.25, "7"),
        }
        assert {(row["total_moment_mub"], row["judged_by_itself"]) for row in minima} == {(4.0, False)}
    # Relaxed again: what is replaced before it was labelled goes, and a case without a final state has no minimum.
    with session_scope(database_url) as session:
        of_low = select(func.count()).where(schema.Structure.immutable_id == "MgO/low@1")
        for factor in (1.02, 1.03):
            moved = replace(wanted.structure, positions=ideal * factor)
            labels.set_origins(session, label_set.id, [replace(wanted, structure=moved)])
        assert session.scalar(of_low) == 3  # with labels and without, and the last
        session.execute(update(Relaxation).values(lattice_ang=None, positions_ang=None))
        labels.set_origins(session, label_set.id, [])
        assert session.scalar(of_low) == 2
        broken = [check for check in check_rows(session) if "labels" in check.name and check.n_violations]
    assert not broken
    rows = run_query(database_url, lowest)
    assert rows.to_dict("records") == [{"model": "high@1", "above_lowest_ev_per_atom": 0.0, "n_models": 1}]
    # Labels outlast the evaluations, which may be run again.
    with session_scope(database_url) as session:
        session.execute(delete(Evaluation))
    assert run_query(database_url, lowest).to_dict("records") == rows.to_dict("records")


def test_a_report_says_that_a_label_set_by_one_of_the_two_models_is_no_judge_of_them(
    home: Path, tmp_path: Path, database_url: str
) -> None:
    from flows.evaluate import evaluate
    from flows.label import label_structures
    from flows.registry import register_model

    twin = tmp_path / "twin.model"
    shutil.copy(resolve_model("heo-mini").path, twin)
    register_model(f"file:{twin}", load_settings(), name="twin")
    cells = SubstitutionRelaxParams(
        composition="Mg0.5Ca0.5O",
        supercell=(1, 1, 1),
        n_cells=1,
        reference="heo-mini",
        relax=RelaxParams(fmax=0.5, dtype="float64"),
    )
    evaluation = EvaluationParams(
        models=("heo-mini", "twin"), benchmarks=("substitution-relax",), substitution_relax=cells
    )
    evaluate(evaluation)
    wanted = LabelParams(
        name="judge", engine="heo-mini", benchmark="substitution-relax", relaxed_by=("heo-mini", "twin")
    )
    assert label_structures(wanted)["n_labelled"] == 2
    with session_scope(database_url) as session:
        ids = [models.get_registered_model(session, name).id for name in ("heo-mini", "twin")]
        told = [statement.text for statement in compute_statements(load_report_data(session, ids))]
    # The other is a copy of its file: it is the judge too.
    assert told[-1].startswith(
        "By heo-mini (surrogate, not DFT, label set judge), it is not decided whose minima are lower: the judge is "
        "twin@1 itself"
    )


def test_inputs_for_vasp_are_written_for_cells_or_a_set_is_and_never_both(
    home: Path, cells: Path, tmp_path: Path
) -> None:
    out = tmp_path / "inputs"
    command = ["label", "export", "--engine", "vasp", "--files", str(cells), "--out", str(out), "--json"]
    result = json.loads(CliRunner().invoke(app, command, catch_exceptions=False).stdout)
    assert result["structures"] == 3
    assert sorted(folder.name for folder in out.iterdir()) == ["cells-1", "cells-2", "cells-3"]
    refused = CliRunner().invoke(app, ["label", "export", "dft", "--engine", "vasp", "--out", str(out)])
    assert refused.exit_code == 2


@pytest.mark.skipif(not REAL_RUN.exists(), reason="this ase comes without the files of its tests")
def test_finished_runs_of_vasp_are_a_label_set_once(home: Path, tmp_path: Path) -> None:
    (tmp_path / "runs" / "NaCl").mkdir(parents=True)
    shutil.copy(REAL_RUN, tmp_path / "runs" / "NaCl" / "vasprun.xml")
    command = ["label", "import", str(tmp_path / "runs"), "--name", "vasp", "--json"]
    first, again = (json.loads(CliRunner().invoke(app, command, catch_exceptions=False).stdout) for _ in range(2))
    assert (first["engine"], first["labelled"], first["failed"]) == ("vasp", 1, 0)
    assert again == first
    (row,) = first["structures"]
    assert (row["structure"], row["formula"], row["wall_s"]) == ("own-NaCl", "ClNa", None)
    assert row["energy_ev_per_atom"] == pytest.approx(read(REAL_RUN).get_potential_energy() / 2, abs=1e-6)
