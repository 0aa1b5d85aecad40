"""`python -m tests.bench.edit_to_browser`: from an edit to its text in Chromium, against Vite alone and a write to a local file.

The same app, the same Vite (one lock file) and the same Chromium on both sides. The clock starts before the edit is sent or
written and stops in the page, in a MutationObserver: both are this machine's.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.async_api import Page, expect

from demo.browser import chromium
from devcluster.settings import REPOSITORY
from tests.bench.figures import Figure, Series
from tests.bench.stage import Stage, stage

ROUNDS = 40
WARM_UP = 5
PAUSE_SECONDS = 0.15
"""Between edits: each shall find page and server at rest, as a person's next edit does."""
GOAL = 75 / 41
"""75 ms, against the 41 ms that Vite alone took where the goal was set."""

_EXAMPLE = REPOSITORY / "examples" / "vite-react"
_FILE = "src/App.jsx"
_HEADLINE = "Pots for quiet corners"
_START_SECONDS = 60

_OBSERVE = """wanted => {
  window.seen = new Promise(resolve => {
    const look = observer => {
      if (document.querySelector('h1')?.textContent !== wanted) return
      observer.disconnect()
      resolve(performance.timeOrigin + performance.now())
    }
    const observer = new MutationObserver((_, observer) => look(observer))
    observer.observe(document, {subtree: true, childList: true, characterData: true})
  })
}"""


def measure(on: Stage) -> list[Figure]:
    source = (_EXAMPLE / _FILE).read_text()
    if _HEADLINE not in source:
        raise RuntimeError(f"{_EXAMPLE / _FILE} has no {_HEADLINE!r} to edit")
    sandbox = on.client.apply("edit-to-browser", {"port": 3000})
    sandbox.wait_ready()
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "shop"
        shutil.copytree(_EXAMPLE, local, ignore=shutil.ignore_patterns("node_modules"))
        sandbox.sync(directory=local)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=local, check=True)
        sandbox.wait_app()

        def synced(text: str) -> None:
            sandbox.sync({_FILE: text})

        def written(text: str) -> None:
            (local / _FILE).write_text(text)

        with _vite(local) as url:
            ours, alone = asyncio.run(_alternate(source, (sandbox.preview().url, synced), (url, written)))
    return [
        Figure("edit → text in Chromium", Series("sync", ours, "ms"), Series("Vite and a local write", alone, "ms"), goal=GOAL)
    ]


Side = tuple[str, Callable[[str], None]]
"""Where the app is seen, and what changes its file."""


async def _alternate(source: str, ours: Side, alone: Side) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Milliseconds of both, in turns. A browser each, so that neither page is in the background of the other."""
    async with chromium() as first, chromium() as second:
        sides = []
        for browser, (url, change) in ((first, ours), (second, alone)):
            page = await browser.new_page()
            await page.goto(url)
            await expect(page.locator("h1")).to_have_text(_HEADLINE, timeout=60_000)
            sides.append((page, change))
        took: list[list[float]] = [[], []]
        for number in range(ROUNDS + WARM_UP):
            for (page, change), values in zip(sides, took, strict=True):
                values.append(await _edit(page, change, source, f"Pots of round {number}"))
                await asyncio.sleep(PAUSE_SECONDS)
    return tuple(took[0][WARM_UP:]), tuple(took[1][WARM_UP:])


async def _edit(page: Page, change: Callable[[str], None], source: str, headline: str) -> float:
    await page.evaluate(_OBSERVE, headline)
    began = time.time() * 1000
    await asyncio.to_thread(change, source.replace(_HEADLINE, headline))
    async with asyncio.timeout(30):
        return float(await page.evaluate("window.seen")) - began


@contextmanager
def _vite(folder: Path) -> Iterator[str]:
    """Vite itself, without npm around it, on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "HOST": "127.0.0.1", "PORT": str(port)}
    process = subprocess.Popen(["node_modules/.bin/vite"], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(_START_SECONDS * 10):
            try:
                urllib.request.urlopen(url, timeout=1).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    with stage() as here:
        print(*measure(here), sep="\n")
