"""What holds for every test.

One thread a process: several are busy at once, and threads that wait are slower. No example fails for being slow.
"""

from __future__ import annotations

import os

import hypothesis
import pytest

hypothesis.settings.register_profile("heo", deadline=None)
hypothesis.settings.load_profile("heo")

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is marked `gpu` runs where there is one."""
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))
