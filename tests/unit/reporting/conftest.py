from __future__ import annotations

import pytest
from synthetic_report import make_synthetic_report


@pytest.fixture(scope="session")
def report():
    return make_synthetic_report()
