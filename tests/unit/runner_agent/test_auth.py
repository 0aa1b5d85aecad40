from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector, web

from runner_agent.auth import Credentials


def trusting(pem: bytes) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=pem.decode())


async def ask(port: int, pem: bytes, name: str) -> int:
    # a new connection each time: a certificate is looked at in the handshake
    async with (
        ClientSession(connector=TCPConnector(ssl=trusting(pem))) as session,
        session.get(f"https://127.0.0.1:{port}/", server_hostname=name) as response,
    ):
        return response.status


async def test_a_rotated_certificate_is_served_without_a_restart(
    control: Path, certificates: Callable[[str], tuple[bytes, bytes]]
) -> None:
    credentials = await asyncio.to_thread(Credentials, control)

    async def hello(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=credentials.tls)
    await site.start()
    port = runner.addresses[0][1]
    old, new = certificates("control.test")[0], certificates("rotated.test")
    assert await ask(port, old, "control.test") == 200

    (control / "tls.crt").write_bytes(new[0])  # half of the new pair: the old one stays
    await asyncio.to_thread(credentials.look)
    assert await ask(port, old, "control.test") == 200

    (control / "tls.key").write_bytes(new[1])
    await asyncio.to_thread(credentials.look)
    assert await ask(port, new[0], "rotated.test") == 200
    await runner.cleanup()


def test_without_a_certificate_nothing_starts(control: Path) -> None:
    (control / "tls.key").unlink()
    with pytest.raises(OSError, match=r"tls\.key"):
        Credentials(control)


def test_tls_older_than_1_3_is_not_spoken(control: Path) -> None:
    assert Credentials(control).tls.minimum_version is ssl.TLSVersion.TLSv1_3
