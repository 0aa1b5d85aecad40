"""A real Chromium without a window: the distribution's, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

from devcluster import packages

_FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",  # previews are on this machine; a proxy of the environment would not find them
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def executable() -> str:
    """Chromium on this machine; installed from the distribution when it is missing. Raises PackagesMissingError."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    packages.ensure(["chromium"])
    return "chromium"


@asynccontextmanager
async def chromium(*more: str) -> AsyncIterator[Browser]:
    """``more`` are further flags of its command line."""
    # Chromium's own sandbox refuses to run for root
    flags = [*_FLAGS, *more, "--no-sandbox"] if os.geteuid() == 0 else [*_FLAGS, *more]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable(), args=flags)
        try:
            yield browser
        finally:
            await browser.close()
