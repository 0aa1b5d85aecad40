"""What happens, in order. Each step is what a user of the Kubernetes API would do; nothing is done behind its back."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, Page, expect

from demo import report
from demo.browser import chromium
from demo.user import DemoUser
from sandbox_client import Client, Preview, Sandbox

INSTALL_SECONDS = 300.0
LOG_LINES = 8
"""Of an install's log, shown while we wait; `kubectl sandbox logs` has all of it."""

HEADLINE = "Pots for quiet corners"
EDITED = "Pots for bright corners"


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the apps lie (copies, so that edits never touch the work tree) and where pictures go."""

    user: DemoUser
    apps: Path
    pictures: Path

    @classmethod
    def prepare(cls, user: DemoUser, examples: Path, folder: Path) -> Stage:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, example in (("shop", "vite-react"), ("board", "python-aiohttp")):
            shutil.copytree(examples / example, folder / name, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
        return cls(user, folder, folder)


async def play(stage: Stage, shop: Sandbox, board: Sandbox) -> Preview:
    """The whole demo; returns a preview of the shop to keep."""
    with report.step("kubectl apply, two SandboxRunners ready"):
        for name in ("shop", "board"):
            await asyncio.to_thread(stage.user.apply, stage.apps / name / "runner.yaml")
        await asyncio.gather(shop.wait_ready(), board.wait_ready())
    for sandbox in (shop, board):
        with report.step(f"synced {sandbox.name} through the Kubernetes API") as notes:
            result = await sandbox.sync(directory=stage.apps / sandbox.name, mode="mirror")
            notes += [f"{result.written} files", f"{result.bytes / 1000:.1f} kB", f"revision {result.revision}"]

    async with chromium() as browser:
        with report.step("shop installed and started (npm, Vite)"):
            await _installed(shop)
        page = await _see(stage, browser, shop)
        await _edit(stage, page, shop)
        with report.step("board installed and started (pip, aiohttp)"):
            await board.wait_app(timeout=INSTALL_SECONDS)
        await _see_board(stage, browser, board)
    return await shop.preview()


async def _installed(sandbox: Sandbox) -> None:
    """Waits for the app, showing the first lines it writes meanwhile."""

    async def show() -> None:
        shown = 0
        async for text in sandbox.logs(follow=True):
            report.line(f"            | {text[:110]}")
            shown += 1
            if shown == LOG_LINES:
                return

    showing = asyncio.create_task(show())
    try:
        await sandbox.wait_app(timeout=INSTALL_SECONDS)
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)


async def _see(stage: Stage, browser: Browser, shop: Sandbox) -> Page:
    with report.step("shop seen in Chromium by its preview URL") as notes:
        preview = await shop.preview()
        page = await browser.new_page(viewport={"width": 1100, "height": 720})
        await page.goto(preview.url)
        await expect(page.locator("h1")).to_have_text(HEADLINE, timeout=60_000)
        if "sandbox_token" in page.url:
            raise AssertionError(f"the token is still in the address bar: {page.url.partition('?')[0]}?…")
        notes.append(page.url)
    await page.get_by_role("button").first.click()
    await page.evaluate("window.sandboxDemoMarker = 'planted before the edit'")
    await page.screenshot(path=stage.pictures / "shop-before.png")
    return page


async def _edit(stage: Stage, page: Page, shop: Sandbox) -> None:
    """Changes one line, syncs, and sees it in the open page: same document (the marker), same React state (the basket)."""
    file = stage.apps / "shop" / "src" / "App.jsx"
    file.write_text(file.read_text().replace(HEADLINE, EDITED))
    with report.step("edited App.jsx, synced, seen in the page by HMR without a reload") as notes:
        result = await shop.sync(directory=stage.apps / "shop", mode="mirror")
        await expect(page.locator("h1")).to_have_text(EDITED, timeout=30_000)
        notes.append(f"{result.written} file travelled")
    if await page.evaluate("window.sandboxDemoMarker") != "planted before the edit":
        raise AssertionError("the page was reloaded: the marker planted before the edit is gone")
    await expect(page.locator(".basket")).to_contain_text("1 in the basket")
    if result.written != 1 or result.restarted:
        raise AssertionError(f"one edited line should write one file and restart nothing: {result}")
    await page.screenshot(path=stage.pictures / "shop-after.png")


async def _see_board(stage: Stage, browser: Browser, board: Sandbox) -> None:
    with report.step("board seen in Chromium, message sent over its WebSocket"):
        page = await browser.new_page(viewport={"width": 900, "height": 640})
        await page.goto((await board.preview()).url)
        await expect(page.locator("#state")).to_have_text("live", timeout=30_000)
        await page.get_by_label("Message").fill("Two apps, one cluster")
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator("#messages li").last).to_have_text("Two apps, one cluster")
    await page.screenshot(path=stage.pictures / "board.png")


async def run(user: DemoUser, examples: Path, folder: Path, on_failure: report.Explain) -> Preview:
    """Plays it with a client of the user; when a step fails, explains both runners first."""
    stage = Stage.prepare(user, examples, folder)
    async with Client.from_kubeconfig(user.kubeconfig) as client:
        shop, board = client.sandbox("shop"), client.sandbox("board")
        try:
            return await play(stage, shop, board)
        except BaseException:
            for sandbox in (shop, board):
                await on_failure(sandbox)
            raise
