"""A sync that arrives while a dev server starts is seen by it: Vite reads files for the first request before it watches them."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import pytest

from sandbox_client import blocking
from tests.harness.fixtures import RunnerFactory

EXAMPLE = Path(__file__).parents[2] / "examples" / "vite-react"
SEEN_SECONDS = 15.0
PAGE = "src/App.jsx"
WATCHES_LATE = """
import react from '@vitejs/plugin-react'

// what a slow machine does to a large tree: changes of the first second after Vite answers are not noticed
const late = {
  name: 'late-watcher',
  configureServer(server) {
    const emit = server.watcher.emit.bind(server.watcher)
    let from = Infinity
    server.httpServer.once('listening', () => { from = Date.now() + 1000 })
    server.watcher.emit = (event, ...rest) => Date.now() < from ? false : emit(event, ...rest)
  },
}
export default {
  plugins: [react(), late],
  server: { host: process.env.HOST, port: Number(process.env.PORT), strictPort: true },
}
"""


@pytest.fixture(scope="module")
def shop(make_runner: RunnerFactory) -> blocking.Sandbox:
    sandbox = make_runner("starting", {})
    sandbox.sync(directory=EXAMPLE)
    sandbox.wait_app()
    return sandbox


def sync_heading(shop: blocking.Sandbox) -> str:
    heading = f"Pots {secrets.token_hex(4)}"
    source = (EXAMPLE / PAGE).read_text()
    assert "Pots for quiet corners" in source
    shop.sync({PAGE: source.replace("Pots for quiet corners", heading)}, restart="never")
    return heading


def expect_served(shop: blocking.Sandbox, heading: str) -> None:
    deadline = time.monotonic() + SEEN_SECONDS
    while heading not in (served := shop.proxy("GET", f"/{PAGE}").body.decode()):
        assert time.monotonic() < deadline, f"Vite still serves what it read before the sync:\n{served[:2000]}"
        time.sleep(0.1)


def test_what_vite_read_before_it_watched_is_not_served_for_ever(shop: blocking.Sandbox) -> None:
    shop.sync({"vite.config.js": WATCHES_LATE}, restart="always")
    shop.wait_app()
    shop.proxy("GET", f"/{PAGE}")  # transformed, and kept, while nothing is watched
    expect_served(shop, sync_heading(shop))
    shop.sync({"vite.config.js": (EXAMPLE / "vite.config.js").read_bytes()}, restart="never")


@pytest.mark.parametrize("delay", [0.0, 0.3, 0.6, 0.9, 1.2, 1.5, 2.0, 3.0])
def test_a_sync_at_any_moment_of_vites_start_reaches_the_page(shop: blocking.Sandbox, delay: float) -> None:
    """``delay`` in seconds from the answer of the restart, when the new process is on its way."""
    shop.restart(grace_period_seconds=0)
    time.sleep(delay)
    heading = sync_heading(shop)
    shop.wait_app()
    expect_served(shop, heading)
