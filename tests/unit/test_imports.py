"""Packages stay as light as the arrows promise."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import flows


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("heo_core.params", ["torch", "mace", "ase", "pymatgen", "prefect", "sqlalchemy", "numpy"]),
        ("heo_core.curation", ["torch", "mace", "prefect", "sqlalchemy"]),
        ("heo_core.models", ["torch", "mace", "chgnet", "torch_sim"]),
        ("db.evaluations", ["torch", "mace", "prefect"]),
        ("db.reports", ["torch", "mace", "prefect"]),
        ("deploy.cli.main", ["torch", "prefect", "sqlalchemy", "pydantic", "pandas", "numpy"]),
    ],
)
def test_importing_a_module_leaves_heavy_packages_out(module: str, absent: list[str]) -> None:
    code = f"import {module}, sys, json; print(json.dumps([m for m in {absent!r} if m in sys.modules]))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == []


def test_no_flow_hides_a_package_for_prefect_puts_the_folder_of_a_run_first() -> None:
    ours = {path.stem for path in Path(str(flows.__file__)).parent.glob("*.py")} - {"__init__"}
    assert ours & {*packages_distributions(), *sys.stdlib_module_names} == set()
