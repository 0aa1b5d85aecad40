"""What is no name is refused before anything is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sandbox_client import Client, ConfigError, InvalidName, Sandbox, SandboxError
from sandbox_client.api import path
from sandbox_client.kubeconfig import Connection, load
from tests.unit.sandbox_client.fake_api import FakeApi
from tests.unit.sandbox_client.test_kubeconfig import config, write

MANIFEST = {"apiVersion": "infrastructure.appstudio.dev/v1alpha1", "kind": "SandboxRunner"}

NAMES = ["shop/proxy", "shop%2Fproxy", "..", "shop/proxy/../status", "Shop", "", "shop?x", "shop\x1b[2J"]


async def _sandbox(client: Client, name: str) -> None:
    client.sandbox(name)


async def _inside_namespace(client: Client, name: str) -> None:
    client.sandbox("shop", namespace=name or "/")


CALLS: list[Callable[[Client, str], Awaitable[object]]] = [
    _sandbox,
    _inside_namespace,
    lambda client, name: client.get(name),
    lambda client, name: client.create(name),
    lambda client, name: client.apply(name),
    lambda client, name: client.apply("shop", namespace=name or "/"),
    lambda client, name: client.create("shop", namespace=name or "/"),
    lambda client, name: client.list(namespace=name or "/"),
    lambda client, name: client.apply_manifest({**MANIFEST, "metadata": {"name": name}}),
    lambda client, name: client.apply_manifest({**MANIFEST, "metadata": {"name": "shop", "namespace": name}}),
]


@pytest.mark.parametrize("call", range(len(CALLS)))
@pytest.mark.parametrize("name", NAMES)
async def test_nothing_is_sent_for_what_is_no_name(api: FakeApi, client: Client, name: str, call: int) -> None:
    with pytest.raises(InvalidName):
        await CALLS[call](client, name)
    assert api.requests == []


@pytest.mark.parametrize("metadata", [{}, {"name": None}, {"name": 5}, {"name": ["a"]}])
async def test_a_manifest_without_a_name_is_told_so(client: Client, metadata: dict[str, object]) -> None:
    with pytest.raises(InvalidName, match="name"):
        await client.apply_manifest({**MANIFEST, "metadata": metadata})


def test_a_namespace_of_the_context_is_held_to_the_same(tmp_path: Path) -> None:
    bad = config({"token": "t"})
    bad["contexts"][0]["context"]["namespace"] = "demo/sandboxrunners/x"
    with pytest.raises(ConfigError, match="demo/sandboxrunners/x"):
        load(write(tmp_path, bad))
    with pytest.raises(InvalidName):
        Client(Connection("http://127.0.0.1:1", "a/b"))


def test_every_part_of_a_path_is_a_name() -> None:
    assert path("apis", "v1alpha1", "a.b") == "/apis/v1alpha1/a.b"
    with pytest.raises(ValueError, match="not a name"):
        path("apis", "a/b")


async def test_a_path_of_the_app_stays_below_the_app(api: FakeApi, shop: Sandbox) -> None:
    for target in ("../status", "/a/../../status", "./x"):
        with pytest.raises(SandboxError, match="lead elsewhere"):
            await shop.proxy("GET", target)
    assert api.requests == []
    await shop.proxy("GET", "a//b%2F../ü?")
    assert api.requests[-1].raw_path.endswith("/shop/proxy/a//b%252F../%C3%BC%3F")
