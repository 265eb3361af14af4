"""Packages stay as light as the arrows promise."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


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
