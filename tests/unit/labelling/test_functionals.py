"""What a functional says of its labels."""

from __future__ import annotations

import pytest

from heo_core.labelling import gpaw_engine, vasp
from heo_core.labelling.engines import PotentialEngine
from heo_core.labelling.functionals import classify_functional, classify_functionals
from heo_core.models import load_model, resolve_model


@pytest.mark.parametrize("name", ["pbe", "PBEsol", "scan", gpaw_engine.FUNCTIONAL, vasp.FUNCTIONAL])
def test_labels_by_dft_are_known_as_such(name):
    assert classify_functional(name) == "dft"


def test_labels_by_a_potential_are_a_surrogates():
    engine = PotentialEngine(load_model(resolve_model("heo-mini"), device="cpu"), sha256=None, package_versions=None)
    assert classify_functional(engine.functional) == "surrogate"
    assert classify_functional("7net-0 (surrogate, not DFT)") == "surrogate"


def test_of_labels_of_several_origins_the_worst_counts_and_of_none_nothing_is_known():
    assert classify_functional("b3lyp?") == "unknown"
    assert classify_functionals(["pbe", "scan"]) == "dft"
    assert classify_functionals(["pbe", "heo-mini (potential)", "?"]) == "surrogate"
    assert classify_functionals(["pbe", "?"]) == classify_functionals([]) == "unknown"
