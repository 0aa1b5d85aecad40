from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestServer

from sandbox_client import Client, Sandbox
from sandbox_client.kubeconfig import Connection
from tests.unit.sandbox_client.fake_api import FakeApi


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
async def client(api: FakeApi) -> AsyncIterator[Client]:
    server = TestServer(api.application())
    await server.start_server(auto_decompress=False)  # part of a compressed body cannot be decompressed
    async with server, Client(Connection(str(server.make_url("")).rstrip("/"), "demo")) as made:
        yield made


@pytest.fixture
def shop(api: FakeApi, client: Client) -> Sandbox:
    api.add("shop")
    return client.sandbox("shop")
