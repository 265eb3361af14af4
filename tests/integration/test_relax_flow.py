"""The job of relaxing: rows that last, files beside them, found again, and what broke off goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import read, write
from querying import query
from typer.testing import CliRunner

from db.engine import get_engine, session_scope
from db.models import get_registered_model
from db.reports import load_report_data
from deploy.services import down
from flows.settings import load_settings
from heo_core.assets import HEO_MINI_DIR
from heo_core.errors import HeoError
from heo_core.params import EvaluationParams, RelaxJobParams, RelaxParams


@pytest.fixture
def home(tmp_path: Path, database_url: str, prefect_api_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh home on a fresh database."""
    monkeypatch.setenv("HEO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HEO_DATABASE_URL", database_url.replace("+psycopg", ""))
    yield tmp_path / "home"
    down(load_settings())  # what the command has started
    get_engine(database_url).dispose()


def test_structures_of_files_are_relaxed_once_and_written_with_every_state(
    home: Path, tmp_path: Path, database_url: str
) -> None:
    from flows.relax import relax
    from heo_core.params import RelaxJobParams, RelaxParams

    cells = [bulk("MgO", "rocksalt", a=4.3), bulk("NiO", "rocksalt", a=4.3), bulk("XeO", "rocksalt", a=4.3)]
    for number, cell in enumerate(cells):
        cell.rattle(0.05, seed=number)
    write(tmp_path / "cells.extxyz", cells)
    (tmp_path / "empty.cif").write_text("")
    params = RelaxJobParams(
        files=(str(tmp_path / "cells.extxyz"), str(tmp_path / "empty.cif")),
        relax=RelaxParams(trajectory=True),
        out=str(tmp_path / "out"),
    )
    first = relax(params)
    assert [row["converged"] for row in first["rows"]] == [True, True, False, False]
    assert [row["structure"] for row in first["rows"]] == [*(f"cells.extxyz#{i}" for i in (1, 2, 3)), "empty.cif"]
    assert "unknown element: Xe" in first["rows"][2]["failure"]
    assert "empty.cif cannot be read" in first["rows"][3]["failure"]
    out = tmp_path / "out"
    assert read(out / "cells-1.extxyz").get_potential_energy() / 2 == first["rows"][0]["energy_ev_per_atom"]
    assert len(read(out / "cells-1-trajectory.extxyz", index=":")) == first["rows"][0]["force_calls"]
    assert len((out / "summary.csv").read_text().splitlines()) == 5
    rows = (
        "select case_index, converged, force_calls, energy_final_ev, positions_ang, wall_s from relaxation order by 1"
    )
    stored = query(database_url, rows)
    assert [row[1] for row in stored] == [True, True, False]

    # As a kill leaves it: one structure done, the evaluation running. The other two are relaxed, the first is kept.
    query(database_url, "delete from relaxation where case_index > 0")
    query(database_url, "update evaluation set state = 'running'")
    for file in out.iterdir():
        file.unlink()
    again = relax(params)
    assert again["evaluation_id"] == first["evaluation_id"]
    for after, before in zip(again["rows"], first["rows"], strict=True):
        for name, value in before.items():  # in another batch: the last digits differ
            assert after[name] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)
    resumed = query(database_url, rows)
    assert resumed[0] == stored[0]
    assert resumed[1] != stored[1]
    assert {file.name for file in out.iterdir()} == {
        "cells-1.extxyz",
        "cells-2.extxyz",
        "cells-1-trajectory.extxyz",
        "cells-2-trajectory.extxyz",
        "summary.csv",
    }
    assert relax(params) == again
    assert query(database_url, rows) == resumed

    with session_scope(database_url) as session:
        data = load_report_data(session, [get_registered_model(session, "heo-mini").id])
    assert data.relaxations.empty
    assert data.own_relaxations["case_id"].tolist() == ["cells.extxyz#1", "cells.extxyz#2", "cells.extxyz#3"]
    drawn = data.relaxed_cells.assign(label=data.relaxed_cells["label"].fillna("start"))
    assert drawn.groupby("case_index")["label"].agg(list).to_dict() == {
        0: ["start", "heo-mini@1"],
        1: ["start", "heo-mini@1"],
        2: ["start"],
    }


def test_a_composition_is_relaxed_by_the_command(home: Path, tmp_path: Path, database_url: str) -> None:
    from deploy.cli.main import app

    words = ["--composition", "Mg0.5Ni0.5O", "--n", "2", "--max-force-calls", "3", "--out", str(tmp_path), "--json"]
    small = ["--set", "generation.min_atoms=8", "--format", "cif"]
    result = CliRunner().invoke(app, ["relax", *words, *small])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout.strip().splitlines()[-1])["structures"]
    assert [row["failure"] for row in rows] == ["not converged in 3 force calls"] * 2
    assert len(list(tmp_path.glob("*.cif"))) == 2
    recipes = query(database_url, "select recipe from benchmark_case order by case_index")
    assert [recipe["cell"] for (recipe,) in recipes] == [1, 2]
    refused = CliRunner().invoke(app, ["relax", "a.cif", "--composition", "MgO"])
    assert refused.exit_code == 2


def test_two_models_on_the_same_structures_are_compared(home: Path, tmp_path: Path, database_url: str) -> None:
    from flows.evaluate import evaluate
    from flows.relax import relax

    write(tmp_path / "MgO.cif", bulk("MgO", "rocksalt", a=4.3, cubic=True))
    relax(RelaxJobParams(files=(str(tmp_path / "MgO.cif"),), relax=RelaxParams(max_force_calls=2)))
    other = shutil.copy(HEO_MINI_DIR / "heo-mini.model", tmp_path / "other.model")
    evaluate(EvaluationParams(models=("heo-mini", f"file:{other}"), benchmarks=(), stored_benchmarks=("relax@1",)))
    differences = query(database_url, "select metric, value from paired_difference where metric = 'convergence_rate'")
    assert differences == [("convergence_rate", 0.0)]


def test_housekeeping_ends_well_until_something_is_lost(home: Path, tmp_path: Path, database_url: str) -> None:
    from flows.housekeeping import housekeeping
    from flows.relax import relax

    write(tmp_path / "MgO.cif", bulk("MgO", "rocksalt", a=4.3, cubic=True))
    relax(RelaxJobParams(files=(str(tmp_path / "MgO.cif"),), relax=RelaxParams(max_force_calls=2, trajectory=True)))
    housekeeping()
    (trajectory,) = (home / "artifacts").glob("*/*.extxyz")
    trajectory.unlink()
    query(database_url, "delete from metric")
    with pytest.raises(HeoError, match=r"evaluations have summary numbers.*files are there and unchanged"):
        housekeeping()
