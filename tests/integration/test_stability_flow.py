"""The map of mixtures: rows that last, found again, shared between runs; what fails is a row that says why."""

from __future__ import annotations

import csv
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import pytest
from querying import query

from db import evaluations
from db.engine import claim, get_engine, session_scope
from heo_core.params import EnergyForcesParams, RelaxParams, StabilityParams

# Cells of eight atoms; xenon is no cation that the model or the ionic radii know.
PARAMS = {
    "cations": ("Mg", "Ni", "Xe"),
    "n": 2,
    "model": "heo-mini",
    "n_cells": 2,
    "n_atoms": 8,
    "relax": RelaxParams(dtype="float32", fmax=0.1),
}


def test_a_map_is_made_once_goes_on_where_it_broke_off_and_keeps_what_failed(
    home: Path, tmp_path: Path, database_url: str
) -> None:
    from flows.stability import stability

    params = StabilityParams(**PARAMS, out=str(tmp_path / "out"))
    first = stability(params)
    rows = {
        name: (enthalpy, spread, n_cells, n_converged, failure)
        for name, enthalpy, spread, n_cells, n_converged, failure in query(
            database_url,
            "select composition, mixing_enthalpy_ev_per_atom, bond_spread_ang, n_cells, n_converged, failure "
            "from stability_map",
        )
    }
    assert set(rows) == {"MgNi", "MgXe", "NiXe"}
    enthalpy, spread, n_cells, n_converged, failure = rows["MgNi"]
    assert (n_cells, n_converged, failure) == (2, 2, None)
    assert -0.1 < enthalpy < 0.3
    assert 0 < spread < 0.2
    assert rows["MgXe"][:4] == (None, None, 2, 0)
    assert "Xe" in rows["MgXe"][4]
    (by_hand,) = query(
        database_url,
        """
        select avg(energy_ev_per_atom) - (
            select avg(lowest) from (
                select min(energy_ev_per_atom) as lowest from stability_oxide
                where cation in ('Mg', 'Ni') group by cation
            ) as oxide
        ) from stability_cell where composition = 'MgNi'
        """,
    )
    assert enthalpy == pytest.approx(by_hand[0])
    with (tmp_path / "out" / "stability.csv").open() as stream:
        assert {row["composition"] for row in csv.DictReader(stream)} == set(rows)
    page = (tmp_path / "out" / "stability.html").read_text()
    assert page == Path(first["page"]).read_text()
    assert "MgNi" in page

    # As a kill leaves it: one cell is there, one is not. That one alone is relaxed; other oxides relax nothing at all.
    kept = "select number, created_at from stability_cell where composition = 'MgNi' order by 1"
    before = query(database_url, kept)
    query(database_url, "delete from stability_cell where composition = 'MgNi' and number = 2")
    with session_scope(database_url) as session:  # of the model, and of no matter to the map
        benchmark = evaluations.add_benchmark(
            session, EnergyForcesParams(), [], name="empty", dataset_id=None, reference_id=None
        )
        made = evaluations.start_evaluation(session, 1, benchmark.id, flow_run_id=None)
        evaluations.complete_evaluation(session, made.id, [], 1.0)
    again = stability(params)
    assert query(database_url, "select count(*) from report") == [(1,)]
    after = query(database_url, kept)
    assert again["study_id"] == first["study_id"]
    assert after[0] == before[0]
    assert after[1] != before[1]
    stability(params.model_copy(update={"references": "end-members"}))
    assert query(database_url, kept) == after
    sets = "select reference_set, count(*) from stability_composition group by 1 order by 1"
    assert query(database_url, sets) == [("end-members", 3), ("ground-states", 3)]


def test_two_runs_share_the_pieces_and_one_that_dies_leaves_its_own_to_the_other(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import shared_work

    monkeypatch.setattr(shared_work, "_SECONDS_BETWEEN_LOOKS", 0.05)
    pieces = [("cell", number) for number in range(12)]
    done: list[tuple[str, int]] = []
    is_dead = Event()

    def run(*, dies: bool) -> None:
        def work(mine: list[tuple[str, int]]) -> None:
            if dies:
                is_dead.set()
                raise RuntimeError("killed")
            is_dead.wait(timeout=20)  # the other one has taken its pieces by then
            done.extend(mine)

        with suppress(RuntimeError):
            shared_work.share_out(
                database_url, "test", pieces, lambda: set(done), work, at_once=2, on_progress=lambda _: None
            )

    runs = [Thread(target=run, kwargs={"dies": dies}) for dies in (False, True, False)]
    for each in runs:
        each.start()
    for each in runs:
        each.join(timeout=60)
    assert sorted(done) == pieces
    get_engine(database_url).dispose()


def test_a_claim_takes_what_is_free_and_waits_for_nothing(database_url: str) -> None:
    seen: list[list[str]] = []

    def take() -> None:
        with claim(database_url, ["a", "b", "c", "d"], 2) as held:
            seen.append(held)

    with claim(database_url, ["a", "c"], 1) as held:
        assert held == ["a"]
        other = Thread(target=take)
        other.start()
        other.join(timeout=20)
    take()
    assert seen == [["b", "c"], ["a", "b"]]
    get_engine(database_url).dispose()
