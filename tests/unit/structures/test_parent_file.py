"""A file of the user's own is a parent crystal: one element's sites are filled, the rest stays."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ase.io import write
from ase.spacegroup import crystal

from heo_core.errors import InputError
from heo_core.params import GenerationParams
from heo_core.structures.generation import generate

EDGES = [2.816, 2.816, 14.05]


@pytest.fixture
def layered(tmp_path: Path) -> Path:
    """LiCoO2, which is none of the prototypes."""
    sites = [(0, 0, 0.5), (0, 0, 0), (0, 0, 0.26)]
    write(tmp_path / "LiCoO2.cif", crystal(["Li", "Co", "O"], sites, spacegroup=166, cellpar=[*EDGES, 90, 90, 120]))
    return tmp_path / "LiCoO2.cif"


def make(path: Path, composition, **params):
    return generate(GenerationParams(parent=str(path), composition=composition, n=1, **params))[0]


def test_a_named_site_is_filled_and_all_others_stay(layered: Path):
    cell = make(layered, {"Co": {"Co": 0.5, "Ni": 0.25, "Mn": 0.25}}, supercell=(2, 2, 1))
    assert Counter(cell.structure.species) == {"Li": 12, "Co": 6, "Ni": 3, "Mn": 3, "O": 24}
    assert cell.recipe["space_group_number"] == 166
    assert (cell.recipe["prototype"], len(cell.recipe["parent_sha256"])) == ("LiCoO2.cif", 64)
    assert cell.recipe["charge_residual_e_per_formula"] == 0


def test_the_files_own_composition_leaves_its_cell_and_larger_ions_make_it_larger(layered: Path):
    same = make(layered, {"Co": "Co"}, supercell=(1, 1, 1))
    larger = make(layered, {"Li": "Na"}, supercell=(1, 1, 1))
    assert np.linalg.norm(same.structure.lattice, axis=1) == pytest.approx(EDGES, abs=1e-3)
    # Shannon, six-fold: Li+ 0.76, Na+ 1.02, Co3+ 0.61; O2- with four neighbours 1.38; charges 1 and 3
    growth = (1.02 + 1.38) / (0.76 + 1.38) * 0.25 + 0.75
    assert np.linalg.norm(larger.structure.lattice, axis=1) == pytest.approx(np.array(EDGES) * growth, abs=1e-3)


def test_a_formula_does_not_say_which_sites_it_fills(layered: Path):
    with pytest.raises(InputError, match=r'does not say which sites of LiCoO2.cif it fills; allowed: .*{"\w\w": "'):
        make(layered, "LiCoO2")
    with pytest.raises(InputError, match=r"fills Ti; LiCoO2.cif \(.*\) has (Li and Co|Co and Li)"):
        make(layered, {"Ti": "Zr"})


def test_what_is_no_parent_is_an_error_with_its_reason(tmp_path: Path):
    (tmp_path / "text.cif").write_text("nothing")
    metal = crystal(["Cu"], [(0, 0, 0)], spacegroup=225, cellpar=[3.6] * 3 + [90] * 3)
    write(tmp_path / "metal.cif", metal)
    shared = crystal(
        ["Mg", "O"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225, cellpar=[4.2] * 3 + [90] * 3, occupancies=[0.5, 1]
    )
    write(tmp_path / "shared.cif", shared)
    metal.pbc = False
    write(tmp_path / "cluster.extxyz", metal)
    for name, reason in (
        ("absent.cif", "cannot be read as CIF.*: No such file"),
        ("text.cif", "cannot be read"),
        ("metal.cif", "has no oxygen"),
        ("shared.cif", "elements share"),
        ("cluster.extxyz", "not periodic"),
    ):
        with pytest.raises(InputError, match=reason):
            make(tmp_path / name, {"Cu": "Ni"})
