"""An edit in a real Vite app is seen without a reload: npm really installs, HMR really runs, through the whole line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from sandbox_client import blocking
from tests.e2e.conftest import EXAMPLES
from tests.harness.fixtures import RunnerFactory


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop") / "shop"
    shutil.copytree(EXAMPLES / "vite-react", folder, ignore=shutil.ignore_patterns("node_modules"))
    return folder


@pytest.fixture(scope="module")
def shop(make_runner: RunnerFactory, project: Path) -> blocking.Sandbox:
    sandbox = make_runner("shop", {})
    sandbox.sync(directory=project)
    sandbox.wait_app()
    return sandbox


async def test_an_edit_reaches_the_open_page_without_a_reload(page: Page, shop: blocking.Sandbox, project: Path) -> None:
    await page.goto(shop.preview().url)
    await expect(page.locator("h1")).to_have_text("Pots for quiet corners")
    await page.get_by_role("button").first.click()
    await page.evaluate("window.marker = 1")
    pid = shop.status().process.pid
    file = project / "src" / "App.jsx"
    file.write_text(file.read_text().replace("Pots for quiet corners", "Pots for loud corners"))
    result = shop.sync(directory=project)
    await expect(page.locator("h1")).to_have_text("Pots for loud corners")
    assert (result.written, result.restarted) == (1, False)
    assert await page.evaluate("window.marker") == 1
    await expect(page.locator(".basket")).to_contain_text("1 in the basket")
    assert shop.status().process.pid == pid


async def test_a_syntax_error_is_shown_in_the_page_and_mended_there(page: Page, shop: blocking.Sandbox, project: Path) -> None:
    await page.goto(shop.preview().url)
    await expect(page.locator("h1")).to_be_visible()
    style = project / "src" / "pots.js"
    good = style.read_text()
    style.write_text(good + "\nexport const = broken")
    shop.sync(directory=project)
    await expect(page.locator("vite-error-overlay")).to_be_attached()
    style.write_text(good)
    shop.sync(directory=project)
    await expect(page.locator("vite-error-overlay")).not_to_be_attached()
    await expect(page.locator("h1")).to_be_visible()


async def test_of_edits_in_quick_succession_the_last_is_on_the_page(page: Page, shop: blocking.Sandbox, project: Path) -> None:
    """Vite's watcher drops what happens to a file within 50 ms of what it told of last."""
    await page.goto(shop.preview().url)
    catalog = project / "src" / "pots.js"
    good = catalog.read_text()
    try:
        for number in range(6):
            name = f"Vase number {number}"
            for edit in (good + "\nexport const = broken", good.replace("Moss bowl", name)):
                catalog.write_text(edit)
                shop.sync(directory=project)
            await expect(page.locator("body")).to_contain_text(name)
    finally:
        catalog.write_text(good)
        shop.sync(directory=project)


def test_the_install_ran_in_the_sandbox_and_stays_out_of_the_manifest(shop: blocking.Sandbox) -> None:
    assert not any(entry.path.startswith("node_modules") for entry in shop.manifest().entries)
    assert any("npm" in line or "added" in line for line in shop.logs())
