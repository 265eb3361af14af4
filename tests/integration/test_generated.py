"""Generated cells are a dataset like any other: found again, shown, exported, with recipe and seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from db import datasets, generated
from db.engine import session_scope
from deploy.cli.main import app
from heo_core.params import GenerationParams
from heo_core.structures.generation import generate

# At this distance some of the cells fail.
PARAMS = GenerationParams(name="mixed", n=12, rattle_ang=0.1, min_distance_ang=1.75)


def test_generated_cells_are_stored_once_and_read_back_with_their_recipes(home: Path, database_url: str) -> None:
    from flows.structures import generate_structures

    dataset_id = generate_structures(PARAMS)
    assert generate_structures(PARAMS) == dataset_id
    expected = generate(PARAMS)
    made = [cell for cell in expected if cell.structure is not None]
    assert 0 < len(made) < 12
    with session_scope(database_url) as session:
        cells = generated.load_cells(session, dataset_id)
        summary = datasets.summarise(session, dataset_id)
    assert [recipe for _, recipe in cells] == [cell.recipe for cell in made]
    for (structure, _), cell in zip(cells, made, strict=True):
        assert structure.content_hash == cell.structure.content_hash
        np.testing.assert_array_equal(structure.positions, cell.structure.positions)
    assert (summary["scanned"], summary["kept"]) == (12, len(made))
    assert [(row["split"], row["n_structures"]) for row in summary["splits"]] == [("generated", len(made))]
    (rejection,) = summary["rejections"]
    failed = [cell for cell in expected if cell.structure is None]
    assert (rejection["rule"], rejection["n_rejected"]) == ("distance", len(failed))
    assert rejection["example_ids"][0] == f"cell {failed[0].number}: {failed[0].failure}"


def test_a_set_is_another_version_with_other_parameters_and_the_commands_know_it(home: Path, database_url: str) -> None:
    with session_scope(database_url) as session:
        for seed in (0, 1, 0):
            params = GenerationParams(name="mixed", n=2, seed=seed)
            generated.add_generated(session, params, None, generate(params))
    for command, words in (
        (["list"], ["mixed@1", "mixed@2"]),
        (["show", "mixed"], ["mixed@2", "prototype rocksalt, n 2, filling exact, seed 1"]),
        (["export", "mixed@1", "--out", str(home.parent / "mixed.extxyz")], ["structures  2"]),
    ):
        result = CliRunner().invoke(app, ["dataset", *command], catch_exceptions=False)
        assert all(word in result.stdout for word in words), result.stdout
    assert (home.parent / "mixed.extxyz").read_text().count("split=generated") == 2
