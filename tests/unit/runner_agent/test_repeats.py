"""What is synced twice in quick succession is shown once more, and nothing else is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from runner_agent import repeats
from runner_agent.repeats import Repeats


class Touched(list[list[str]]):
    """What was touched, call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.more = asyncio.Event()

    async def __call__(self, paths: Sequence[str]) -> None:
        self.append(sorted(paths))
        self.more.set()


@pytest.fixture
async def touched(monkeypatch: pytest.MonkeyPatch) -> Touched:
    monkeypatch.setattr(repeats, "QUIET_SECONDS", 0.02)
    return Touched()


@pytest.fixture
async def watched(touched: Touched) -> AsyncIterator[Repeats]:
    one = Repeats(touched)
    yield one
    await one.close()


async def test_a_file_that_is_synced_twice_is_touched_once_both_are_told(watched: Repeats, touched: Touched) -> None:
    watched.synced(["page", "once"])
    watched.synced(["page", "other"])
    assert touched == []
    await asyncio.wait_for(touched.more.wait(), 1)
    assert touched == [["page"]]


async def test_files_synced_once_are_left_alone(watched: Repeats, touched: Touched) -> None:
    watched.synced(["a"])
    watched.synced(["b"])
    watched.synced([])
    watched.synced(["c"])
    await asyncio.sleep(0.05)
    assert touched == []


async def test_a_file_that_is_synced_again_and_again_is_touched_after_the_last(watched: Repeats, touched: Touched) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(5):
        watched.synced(["page"])
        await asyncio.sleep(0.005)
    last = loop.time() - 0.005
    await asyncio.wait_for(touched.more.wait(), 1)
    assert touched[-1] == ["page"]
    assert loop.time() - last >= 0.015


async def test_a_sync_long_after_the_first_is_an_edit_like_any_other(
    monkeypatch: pytest.MonkeyPatch, watched: Repeats, touched: Touched
) -> None:
    monkeypatch.setattr(repeats, "WITHIN_SECONDS", 0.01)
    watched.synced(["page"])
    await asyncio.sleep(0.03)
    watched.synced(["page"])
    await asyncio.sleep(0.05)
    assert touched == []


async def test_closing_touches_nothing_more(watched: Repeats, touched: Touched) -> None:
    watched.synced(["page"])
    watched.synced(["page"])
    await watched.close()
    await asyncio.sleep(0.05)
    assert touched == []
