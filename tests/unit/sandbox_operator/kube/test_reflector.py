from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sandbox_operator.kube import store as store_module
from sandbox_operator.kube.client import Kube, Selection
from sandbox_operator.kube.resources import PODS
from sandbox_operator.kube.store import Reflector


def pod(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"namespace": "n", "name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}}


def listed(version: int, *names: str) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version)}, "items": [pod(name, version) for name in names]}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_FIRST_DELAY", 0.001)
    monkeypatch.setattr(store_module, "_LAST_DELAY", 0.002)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(1):
        while not holds():  # noqa: ASYNC110 - what is waited for is the sum of several changes
            await asyncio.sleep(0.001)


async def run(kube: Kube, holds: Callable[[Reflector], bool]) -> Reflector:
    reflector = Reflector(kube, Selection(PODS))
    task = asyncio.create_task(reflector.run())
    try:
        await until(lambda: holds(reflector))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return reflector


async def test_a_list_then_its_changes(kube: Kube, script: Any) -> None:
    script.answers = [
        listed(5, "a", "b"),
        [
            {"type": "MODIFIED", "object": pod("a", 6)},
            {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}},
            {"type": "DELETED", "object": pod("b", 10)},
        ],
    ]
    reflector = await run(kube, lambda made: made.synced.is_set() and made.get("n", "b") is None and len(script.asked) == 3)
    assert reflector.get("n", "a") == pod("a", 6)
    assert script.asked[2][2]["resourceVersion"] == "10"


@pytest.mark.parametrize(
    "trouble",
    [
        [{"type": "ERROR", "object": {"kind": "Status", "code": 410}}],
        (410, {"kind": "Status", "code": 410}),
        [{"type": "ERROR", "object": {"kind": "Status", "code": 500}}],
        (403, {"kind": "Status", "code": 403}),
    ],
    ids=["expired-in-stream", "expired", "broken-stream", "forbidden"],
)
async def test_trouble_ends_in_a_new_list_that_prunes(kube: Kube, script: Any, trouble: Any) -> None:
    script.answers = [listed(5, "a", "b"), trouble, listed(9, "b")]
    reflector = await run(kube, lambda made: made.get("n", "b") is not None and made.get("n", "a") is None)
    assert reflector.failure is None


async def test_a_failing_list_is_told_and_tried_again(kube: Kube, script: Any) -> None:
    script.answers = [(500, {}), (500, {})]
    reflector = await run(kube, lambda made: made.failure is not None and len(script.asked) >= 2)
    assert not reflector.synced.is_set()
