from __future__ import annotations

import pytest
from synthetic_report import make_synthetic_report

from heo_core.reporting.images import find_browser


@pytest.fixture(scope="session")
def report():
    return make_synthetic_report()


@pytest.fixture(scope="session")
def chromium():
    """The Chrome or Chromium of this machine, headless, driven by playwright.

    A machine that runs the tests need not have one: pytest's -ra prints at the end why these were left out.
    """
    path = find_browser()
    if path is None:
        pytest.skip("no Chrome or Chromium here, so no page was opened in one: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
