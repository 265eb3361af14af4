"""Structures are found by what they hold, and only those."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sqlalchemy.orm import Session

from db import search
from db.engine import get_engine, session_scope
from db.schema import Dataset, DatasetMember, Descriptor
from db.search import find_structures
from db.structures import add_structures
from heo_core.errors import InputError
from heo_core.records import Structure

CELLS = {
    "CoMgO2": ("Co", "Mg", "O", "O"),
    "Co2Mg2O4": ("Co", "Co", "Mg", "Mg", "O", "O", "O", "O"),
    "NiO": ("Ni", "O"),
    "CoMgNiO3": ("Co", "Mg", "Ni", "O", "O", "O"),
    "CoLaO3": ("Co", "La", "O", "O", "O"),
}
ENERGIES_EV = {"CoMgO2": -24.0, "Co2Mg2O4": -40.0, "NiO": -10.0, "CoLaO3": -35.0}  # -6, -5, -5 and -7 an atom


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    """Five structures, of which two stand in a dataset and one has descriptors."""
    cells = [
        Structure(
            lattice=np.eye(3) * 4,
            positions=np.arange(3.0 * len(species)).reshape(-1, 3),
            species=species,
            immutable_id=name,
            source="own",
            energy_ev=ENERGIES_EV.get(name),
        )
        for name, species in CELLS.items()
    ]
    with session_scope(database_url) as session:
        ids = {cell.immutable_id: i for cell in cells for i in add_structures(session, [cell]).values()}
        dataset = Dataset(
            name="few", version=1, key="k", content_hash="h", source_uri="u", source_revision="r", params={},
            n_scanned=2, n_kept=2,
        )  # fmt: skip
        session.add(dataset)
        session.flush()
        members = [
            DatasetMember(dataset_id=dataset.id, structure_id=ids[name], split="test") for name in ("NiO", "CoMgO2")
        ]
        described = Descriptor(
            structure_id=ids["CoMgO2"], cation_fractions={}, n_cations=2, entropy_pooled_r=0.69,
            entropy_sublattice_r=0.69, equimolarity_deviation=0.0,
        )  # fmt: skip
        session.add_all([*members, described])
        session.flush()
        yield session
    get_engine(database_url).dispose()


def test_what_is_asked_is_found(session: Session) -> None:
    def find(**asked: Any) -> list[str]:
        return [row["immutable_id"] for row in find_structures(session, **asked)]

    assert find() == list(CELLS)
    assert find(contains=["Mg", "Co"]) == ["CoMgO2", "Co2Mg2O4", "CoMgNiO3"]
    assert find(only=["O", "Ni", "Co", "Mg"]) == ["CoMgO2", "Co2Mg2O4", "NiO", "CoMgNiO3"]
    assert find(only=["Co", "Mg", "O"], contains=["Mg"]) == ["CoMgO2", "Co2Mg2O4"]
    assert find(any_of=["La", "Ni"]) == ["NiO", "CoMgNiO3", "CoLaO3"]
    assert find(formula="Mg0.5Co0.5O") == ["CoMgO2", "Co2Mg2O4"]
    assert find(chemical_system="O-Mg-Ni-Co") == ["CoMgNiO3"]
    assert find(ranges=["energy_ev_per_atom <= -6"]) == ["CoMgO2", "CoLaO3"]
    assert find(ranges=["n_atoms>=4", "n_atoms < 6"]) == ["CoMgO2", "CoLaO3"]
    assert find(ranges=["entropy_pooled_r > 0"]) == ["CoMgO2"]
    assert find(dataset="few") == ["CoMgO2", "NiO"]
    assert find(dataset="few@1", only=["Ni", "O"]) == ["NiO"]
    assert find(limit=1) == ["CoMgO2"]


def test_only_is_the_same_however_many_elements_it_names(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    by_system = find_structures(session, only=["Ni", "O", "Co", "Mg"])
    monkeypatch.setattr(search, "_MAX_SYSTEMS", 1)
    assert find_structures(session, only=["Ni", "O", "Co", "Mg"]) == by_system


def test_a_row_says_what_it_is_and_where_it_stands(session: Session) -> None:
    (row,) = find_structures(session, formula="NiO")
    assert (row["energy_ev_per_atom"], row["volume_per_atom_ang3"], row["datasets"]) == (
        -5.0,
        pytest.approx(32.0),
        ["few@1"],
    )
    assert row["entropy_pooled_r"] is None


def test_what_cannot_be_asked_is_said(session: Session) -> None:
    for asked, message in [
        ({"contains": ["Xx"]}, "'Xx': no element"),
        ({"only": ["Mg", "O"], "contains": ["Co"]}, "no structure holds Co and only Mg, O"),
        ({"formula": "MgO)"}, "'MgO\\)' is no formula"),
        ({"chemical_system": "Mg-"}, "'': no element"),
        ({"ranges": ["energy < 1"]}, "'energy < 1' is no range; allowed: PROPERTY <"),
        ({"ranges": ["n_atoms < few"]}, "'few' in 'n_atoms < few' is no number"),
        ({"dataset": "many"}, "there is no dataset 'many'; there is: few@1"),
    ]:
        with pytest.raises(InputError, match=message):
            find_structures(session, **asked)
