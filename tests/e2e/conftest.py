"""A real Chromium against the cluster of `make cluster-up deploy`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page

from demo.browser import chromium
from sandbox_client import blocking
from tests.harness.fixtures import (
    RunnerFactory,
    client,
    cluster,
    make_runner,
    namespace,
    pytest_runtest_makereport,
    runner,
    user,
)

__all__ = ["client", "cluster", "make_runner", "namespace", "pytest_runtest_makereport", "runner", "user"]

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
async def context() -> AsyncIterator[BrowserContext]:
    """A browser that has never been anywhere."""
    async with chromium() as browser:
        yield await browser.new_context()


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    return await context.new_page()


@pytest.fixture(scope="module")
def board(make_runner: RunnerFactory) -> blocking.Sandbox:
    """The Python example, installed and running."""
    sandbox = make_runner("board", {"port": 8000})
    sandbox.sync(directory=EXAMPLES / "python-aiohttp")
    sandbox.wait_app()
    return sandbox
