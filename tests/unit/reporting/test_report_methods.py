from __future__ import annotations

import shlex
from dataclasses import replace

import pytest
from synthetic_report import BASELINE, CANDIDATE, EF, RATTLE, SUBSTITUTION

from heo_core.params import (
    CurationParams,
    FinetuneParams,
    RattleRelaxParams,
    ReplayParams,
    RuleParams,
    SplitParams,
)
from heo_core.reporting.blocks import Facts
from heo_core.reporting.citations import SOURCES, list_sources
from heo_core.reporting.commands import describe_changes, list_commands
from heo_core.reporting.data import make_frame
from heo_core.reporting.sections.methods import build_methods


def test_defaults_need_no_words():
    assert describe_changes(FinetuneParams, FinetuneParams().resolve().model_dump(mode="json")) == []


def test_a_preset_stands_for_all_that_it_decides():
    params = CurationParams(rules=RuleParams(preset="heo", min_cations=6), split=SplitParams(seed=3)).resolve()
    words = describe_changes(CurationParams, params.model_dump(mode="json"))
    assert sorted(words) == ["rules.min_cations=6", "rules.preset=heo", "split.seed=3"]


def test_words_hold_json_inside_groups():
    params = FinetuneParams(replay=ReplayParams(n_cells=50), strategy="naive", name="mine").resolve()
    words = describe_changes(FinetuneParams, params.model_dump(mode="json"))
    assert {"replay.n_cells=50", "strategy=naive", "name=mine"} == set(words)


def test_what_this_version_does_not_know_is_left_out():
    stored = RattleRelaxParams(rattle_ang=0.2).model_dump(mode="json") | {"of_an_older_version": 1}
    assert describe_changes(RattleRelaxParams, stored) == ["rattle_ang=0.2"]


def test_commands_are_in_the_order_of_the_work_and_safe_to_paste(report):
    dataset = {**report.dataset, "params": CurationParams(citation="a; rm b").resolve().model_dump(mode="json")}
    commands = list_commands(replace(report, dataset=dataset))
    assert [shlex.split(command)[1] for command in commands] == ["curate", "finetune", "evaluate", "report"]
    assert "citation=a; rm b" in shlex.split(commands[0])
    shown = [word for name in (EF, RATTLE, SUBSTITUTION) for word in ("--benchmark", name)]
    assert shlex.split(commands[-1]) == ["heo", "report", "--model", BASELINE, "--model", CANDIDATE, *shown]


def test_two_benchmarks_of_a_kind_take_two_evaluations_each_on_its_dataset(report):
    rows = [
        ("off-equilibrium@1", "off-equilibrium", {}),
        ("off-equilibrium:mine@1", "off-equilibrium", {"dataset": "mine@1"}),
        ("dft-offeq@1", "off-equilibrium", {"dataset": "bundled:dft-offeq"}),
        ("energy-forces:sample@1", "energy-forces", {}),
        ("energy-forces:other@2", "energy-forces", {"dtype": "float32"}),
        ("rattle-relax:other@1", "rattle-relax", {}),
    ]
    benchmarks = make_frame(
        "benchmarks", [dict(zip(("benchmark", "kind", "params"), row, strict=True)) for row in rows]
    )
    start = f"heo evaluate --model {BASELINE} --model {CANDIDATE} "
    commands = list_commands(replace(report, benchmarks=benchmarks))
    first, second = (command.removeprefix(start) for command in commands if command.startswith(start))
    assert first == "--benchmark off-equilibrium --benchmark dft-offeq@1 --benchmark energy-forces"
    assert second == (
        "--dataset other --benchmark off-equilibrium --set off_equilibrium.dataset=mine@1 "
        "--benchmark energy-forces --set energy_forces.dtype=float32 --benchmark rattle-relax"
    )


def test_numbers_of_models_have_their_digits_and_trainings_their_free_atoms(report):
    runs = report.training_runs.assign(e0s=[{"O": -1.5}], replay=[{"structures": "foundation", "n_cells": 60}])
    runs = runs.assign(e0_outliers=[{"mp-1": -0.25}])
    models = report.models.assign(n_parameters=[4688656.0, None])
    facts = {
        block.title: dict(block.rows)
        for block in build_methods(replace(report, models=models, training_runs=runs)).blocks
        if isinstance(block, Facts)
    }
    assert facts[f"Model {BASELINE}"]["Parameters"] == "4688656"
    assert facts[f"Training of {CANDIDATE}: energies of free atoms, eV"] == {"O": "-1.5"}
    assert facts[f"Training of {CANDIDATE}: what was replayed"] == {"structures": "foundation", "n_cells": "60"}
    outliers = facts[f"Training of {CANDIDATE}: outliers of these energies, predicted less reference, eV/atom"]
    assert outliers == {"mp-1": "-0.25"}


def test_every_source_has_an_entry_of_its_own():
    entries = {source.bibtex for source in SOURCES}
    assert len(entries) == len(SOURCES)
    for source in SOURCES:
        assert source.bibtex.count("{") == source.bibtex.count("}")
        assert source.bibtex.splitlines()[0].endswith(f"{{{source.key},")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"functionals": ["7net-0 (surrogate, not DFT)"]}, "sevennet"),
        ({"source_uri": "https://huggingface.co/datasets/LeMaterial/LeMat-Bulk"}, "lemat_bulk"),
        ({"functionals": ["PBE+U (GPAW)"]}, "gpaw"),
    ],
)
def test_the_source_of_the_labels_is_cited(report, change, key):
    keys = [source.key for source in list_sources(replace(report, dataset={**report.dataset, **change}))]
    assert key in keys
    assert {"mace", "chgnet", "torch_sim", "ase", "pymatgen", "threedmol"} <= set(keys)
    assert "umap" not in keys
    assert keys.count("gpaw") == (key == "gpaw")


def test_who_made_the_labels_is_told_from_who_taught_heo_mini(report):
    dft = {**report.dataset, "functionals": ["pbe"], "source_uri": "mine.parquet", "citation": "mine"}
    data = replace(report, dataset=dft)
    (taught,) = [source.what for source in list_sources(data) if source.key == "sevennet"]
    assert taught == "SevenNet 7net-0, whose labels heo-mini was trained on"
    benchmarks = report.benchmarks.assign(functionals=[["7net-0 (surrogate, not DFT)"]] * len(report.benchmarks))
    (made,) = [s.what for s in list_sources(replace(data, benchmarks=benchmarks)) if s.key == "sevennet"]
    assert made == "SevenNet 7net-0, which made the surrogate labels"


def test_a_sevennet_model_is_cited_as_one_and_once(report):
    models = report.models.assign(family=["mace", "sevennet"], name=["heo-mini", "sevennet-7net-0"])
    for functional, said in (
        ("pbe", "SevenNet 7net-0, which is a model here"),
        ("7net-0 (surrogate, not DFT)", "SevenNet 7net-0, which is a model here and which made the surrogate labels"),
    ):
        dataset = {**report.dataset, "functionals": [functional], "source_uri": "mine.parquet", "citation": "mine"}
        sources = list_sources(replace(report, models=models, dataset=dataset))
        assert [source.what for source in sources if source.key == "sevennet"] == [said]
