"""What a result was made with: code, packages, device."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version

from flows.settings import CHECKOUT

_PACKAGES = ("heo", "mace-torch", "torch", "e3nn", "torch-sim-atomistic", "numpy", "ase")


@cache
def describe_code() -> str:
    """Version of heo and, in a checkout, its commit; `+` marks changed files that git tracks."""
    git = ("git", "-C", str(CHECKOUT))
    if not (CHECKOUT / ".git").exists():
        return version("heo")
    try:
        commit = _run(*git, "rev-parse", "--short=12", "HEAD")
        changed = "+" if _run(*git, "status", "--porcelain", "--untracked-files=no") else ""
    except (OSError, subprocess.SubprocessError):
        return version("heo")
    return f"{version('heo')} {commit}{changed}"


def list_package_versions() -> dict[str, str]:
    """Versions of the packages that decide what numbers come out, and of Python."""
    return {package: version(package) for package in _PACKAGES} | {"python": platform.python_version()}


def describe_device(device: str, acceleration: str) -> str:
    """Return cpu with its number of threads, or cuda with the name of the GPU and the kernels other than e3nn's."""
    if device == "cpu":
        return f"cpu ({os.environ.get('OMP_NUM_THREADS') or os.cpu_count()} threads)"
    import torch

    kernels = "" if acceleration == "none" else f", {acceleration}"
    return f"{device} ({torch.cuda.get_device_name()}{kernels})"


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
