"""The migrations make exactly the schema that the code knows, and every table and column says what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import psycopg
from alembic import command

import db
from db import evaluations, labels, models
from db.engine import get_engine, session_scope
from db.migrations import make_config, upgrade
from db.schema import Base, Evaluation, Relaxation
from heo_core.labelling.label import Label, Origin, Wanted
from heo_core.params import SubstitutionRelaxParams
from heo_core.records import BenchmarkCase, ModelFile, Structure

VIEWS = Path(db.__file__).parent / "views"
QUANTITIES = ("energy_", "energies", "forces", "fmax", "lattice", "positions", "stress", "volume_per")
UNITS = ("_ev", "_ev_per_atom", "_ev_per_ang", "_ev_per_ang3", "_ang", "_ang3", "energy_scale")


def test_migrations_and_models_agree(database_url: str) -> None:
    command.check(make_config(database_url))
    get_engine(database_url).dispose()


def test_the_schema_can_be_taken_down_and_put_up_again(database_url: str) -> None:
    command.downgrade(make_config(database_url), "base")
    upgrade(database_url)
    upgrade(database_url)
    command.check(make_config(database_url))
    get_engine(database_url).dispose()


def test_which_model_relaxed_to_a_labelled_cell_outlasts_going_down_and_up(database_url: str) -> None:
    start = Structure(np.eye(3) * 4.2, np.array([[0.0, 0, 0], [2.1, 2.1, 2.1]]), ("Mg", "O"), "MgO", "generated")
    with session_scope(database_url) as session:
        case = BenchmarkCase(start, None, {})
        benchmark = evaluations.add_benchmark(
            session, SubstitutionRelaxParams(), [case], name="relax", dataset_id=None, reference_id=None
        )
        label_set = labels.open_label_set(session, "dft", engine="gpaw", functional="pbe+u (gpaw)", settings={})
        for name in ("restful", "restless"):
            file = ModelFile("mace", name, name, name * 8)
            model, _ = models.register_published_model(session, file, name=name, size_bytes=1, energy_scale=None)
            evaluation = Evaluation(model_version_id=model.id, benchmark_id=benchmark.id, state="completed")
            session.add(evaluation)
            session.flush()
            is_done, final = name == "restful", replace(start, immutable_id=name)
            state = {"lattice_ang": final.lattice.tolist(), "positions_ang": final.positions.tolist()}
            course = {"force_calls": 3, "wall_s": 1.0, "energies_ev": [], "fmaxes_ev_per_ang": []}
            session.add(Relaxation(evaluation_id=evaluation.id, case_index=0, converged=is_done, **state, **course))
            origin = Origin(benchmark.id, 0, model.id, is_done)
            labels.add_label(session, label_set, final, Label(1.0, None, -10.0, np.zeros((2, 3))))
            labels.set_origins(session, label_set.id, [Wanted(final, origin)])

    def load() -> list[tuple]:
        with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
            of_model = """
                select name, case_index, immutable_id, converged from relaxed_label
                join model_version on model_version.id = model_version_id join structure on structure.id = structure_id
                order by name
            """
            return connection.execute(of_model).fetchall()

    assert load() == [("restful", 0, "restful", True), ("restless", 0, "restless", False)]
    command.downgrade(make_config(database_url), "0014")
    upgrade(database_url)
    assert load() == [("restful", 0, "restful", True), ("restless", 0, "restless", False)]
    get_engine(database_url).dispose()


def test_tables_are_commented_and_columns_that_need_it_carry_a_unit(database_url: str) -> None:
    query = """
        select relname from pg_class
        where relkind = 'r' and relnamespace = 'public'::regnamespace and obj_description(oid) is null
    """
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        uncommented = {name for (name,) in connection.execute(query)} - {"alembic_version"}
    assert not uncommented
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            if column.name.startswith(QUANTITIES):
                assert column.name.endswith(UNITS), f"{table.name}.{column.name} has no unit"


def test_views_are_what_their_files_say(database_url: str) -> None:
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        for file in VIEWS.glob("*.sql"):
            (migrated,) = connection.execute("select pg_get_viewdef(%s::regclass)", (file.stem,)).fetchone()
            connection.execute(f"drop view {file.stem}")
            connection.execute(file.read_text())
            (written,) = connection.execute("select pg_get_viewdef(%s::regclass)", (file.stem,)).fetchone()
            assert migrated == written
