"""One Chromium and one city for the browser tests of a process; each test its own pages.

They end with the last of these tests: Playwright's loop runs in their thread, and beside one
Django gives its database to nobody.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.ground import WAIT_MS, Ground

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a screen."""
    program = shutil.which("chromium")
    assert program is not None, "the tests need Chromium: apt-get install chromium"
    # A machine that is busy with other tests is slow, and nothing is wrong with the page.
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def city(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """The whole chain, running; shared, because starting it takes seconds."""
    with Ground(tmp_path_factory.mktemp("city"), chromium) as running:
        yield running


@pytest.fixture
def ground(city: Ground) -> Iterator[Ground]:
    """The city with nothing open in it that this test did not open; its site serves."""
    if not city.site_answers():
        city.start_site()
    yield city
    city.forget_pages()
    city.end_alarms()
