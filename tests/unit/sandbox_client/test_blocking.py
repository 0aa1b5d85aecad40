"""The blocking shell has what the asynchronous SDK has, under the same names, and does the same."""

from __future__ import annotations

import asyncio
import gc
import inspect
from types import ModuleType
from typing import Any

import pytest

import sandbox_client
from sandbox_client import blocking
from sandbox_client.kubeconfig import Connection
from tests.unit.sandbox_client.fake_api import FakeApi

PAIRS = [
    (getattr(sandbox_client, name), getattr(blocking, name))
    for name in sandbox_client.__all__
    if any(inspect.iscoroutinefunction(member) for member in vars(getattr(sandbox_client, name)).values())
]


def public(kind: type) -> dict[str, Any]:
    return {name: member for name, member in vars(kind).items() if not name.startswith("_")}


def test_there_is_a_shell_for_each_class_that_waits() -> None:
    assert {kind.__name__ for kind, _ in PAIRS} == {"Client", "ExecSession", "Sandbox"}


@pytest.mark.parametrize(("waits", "blocks"), PAIRS)
def test_each_public_method_is_there_with_the_same_signature(waits: type, blocks: type) -> None:
    mine, theirs = public(blocks), public(waits)
    callables = {name for name, member in theirs.items() if callable(member) or isinstance(member, classmethod)}
    assert callables <= mine.keys()
    for name in callables:
        expected, found = inspect.signature(getattr(waits, name)), inspect.signature(getattr(blocks, name))
        assert list(found.parameters.values()) == list(expected.parameters.values()), name
    assert not any(inspect.iscoroutinefunction(member) for member in mine.values())


def test_it_runs_a_sync_from_a_thread_without_a_loop(api: FakeApi) -> None:
    runner, server = _served(api)
    try:
        with blocking.Client(Connection(server, "demo")) as client:
            shop = client.apply("shop")
            assert shop.sync({"a": "1"}).written == 1
            api.log = b"one\ntwo\nthree\n"
            assert list(shop.logs()) == ["one", "two", "three"]
            assert next(iter(shop.logs())) == "one"
            assert [sandbox.name for sandbox in client.list()] == ["shop"]
            assert client.sandbox("shop").read() == {"a": b"1"}
    finally:
        blocking._Loop.run(runner.cleanup())


def test_an_iterator_left_unfinished_may_be_collected_by_the_loop_s_own_thread(api: FakeApi) -> None:
    async def collect() -> int:
        return gc.collect()

    runner, server = _served(api)
    gc.disable()
    try:
        with blocking.Client(Connection(server, "demo")) as client:
            shop = client.apply("shop")
            shop.sync({"a": "1"})
            api.log = b"one\ntwo\nthree\n"
            lines = iter(shop.logs())
            assert next(lines) == "one"
            left: list[Any] = [lines]
            left.append(left)
            del lines, left
            assert blocking._Loop._loop is not None
            assert asyncio.run_coroutine_threadsafe(collect(), blocking._Loop._loop).result(timeout=5) > 0
            assert [sandbox.name for sandbox in client.list()] == ["shop"]
    finally:
        gc.enable()
        blocking._Loop.run(runner.cleanup())


def _served(api: FakeApi) -> tuple[Any, str]:
    from aiohttp import web

    async def serve() -> tuple[web.AppRunner, str]:
        runner = web.AppRunner(api.application())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"

    return blocking._Loop.run(serve())


def test_each_export_is_there_and_the_module_is_light() -> None:
    assert isinstance(sandbox_client, ModuleType)
    for name in sandbox_client.__all__:
        assert hasattr(sandbox_client, name)
    assert not asyncio.iscoroutinefunction(blocking.Client.get)
