"""Collects the rows of the attacks, prints them as a table at the end, and writes the page when asked to (`frame.py`)."""

from __future__ import annotations

import pytest

from tests.harness.fixtures import (
    GVISOR,
    client,
    cluster,
    make_runner,
    namespace,
    pytest_runtest_makereport,
    runner,
    user,
)
from tests.walls import frame

__all__ = ["client", "cluster", "make_runner", "namespace", "pytest_runtest_makereport", "runner", "user"]

_ROWS = pytest.StashKey[list[frame.Row]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--page", action="store_true", help="write rows to docs/isolation.md; a test that fails has none there")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = []


@pytest.fixture
def walls(request: pytest.FixtureRequest) -> frame.Walls:
    """Makes the attempts of one attack and keeps its row."""
    profile = "gvisor" if GVISOR else "every sandbox"
    return frame.Walls(f"{request.path.name}::{request.function.__name__}", request.config.stash[_ROWS], profile)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash[_ROWS]
    if not rows:
        return
    terminalreporter.section("walls")
    terminalreporter.write_line(frame.table(rows))
    if config.getoption("--page"):
        reports = [*terminalreporter.stats.get("failed", []), *terminalreporter.stats.get("error", [])]
        failed = {_test(report.nodeid) for report in reports}
        old = frame.parse(frame.PAGE.read_text()) if frame.PAGE.exists() else []
        kept = frame.without(failed, frame.merged(old, rows), gvisor=GVISOR)
        frame.PAGE.write_text(frame.render(kept))
        terminalreporter.write_line(f"written: {frame.PAGE.relative_to(frame.ROOT)}, without tests that failed")


def _test(nodeid: str) -> str:
    """``file::function``, as in a row."""
    path, _, name = nodeid.partition("::")
    return f"{path.rpartition('/')[2]}::{name.partition('[')[0]}"
