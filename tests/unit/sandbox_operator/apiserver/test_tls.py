import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from sandbox_operator.apiserver.tls import ServingTls


@asynccontextmanager
async def peers(tls: ServingTls) -> AsyncIterator[tuple[int, list[str | None]]]:
    """A server that tells the common name of each peer it has verified."""
    seen: list[str | None] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = writer.get_extra_info("peercert")
        seen.append(dict(pair for rdn in found["subject"] for pair in rdn)["commonName"] if found else None)
        writer.write(b"hello")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls.context)
    async with server:
        yield server.sockets[0].getsockname()[1], seen


async def connect(port: int, serving: Any, client: Any, folder: Path) -> bytes:
    """What a client reads that trusts exactly ``serving`` and shows ``client``: nothing, when its certificate is refused.

    (In TLS 1.3 the client has finished its handshake before the server judges the certificate.)
    """
    context = ssl.create_default_context(cadata=serving.certificate)
    if client is not None:
        client.write(folder)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="apiserver.test")
    try:
        return await reader.read()
    except (ssl.SSLError, ConnectionError):
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_new_certificate_and_a_new_client_ca_serve_the_next_connections(
    runner: Callable[..., Any], new_pair: Callable[..., Any], tmp_path: Path
) -> None:
    old_serving, new_serving = (new_pair("apiserver", host="apiserver.test") for _ in range(2))
    old_ca, new_ca = (new_pair("front-proxy-ca", authority=True) for _ in range(2))
    old_client, new_client = new_pair("old", issuer=old_ca), new_pair("new", issuer=new_ca)
    folder = old_serving.write(tmp_path / "serving")

    async def scenario() -> None:
        tls = ServingTls(folder)
        tls.update(old_ca.certificate)
        async with peers(tls) as (port, seen):
            assert await connect(port, old_serving, old_client, tmp_path / "c") == b"hello"
            assert await connect(port, old_serving, None, tmp_path / "c") == b"hello"
            assert seen == ["old", None]
            new_serving.write(folder)
            tls.update(new_ca.certificate)
            assert await connect(port, new_serving, new_client, tmp_path / "c") == b"hello"
            assert seen[2:] == ["new"]
            assert await connect(port, new_serving, old_client, tmp_path / "c") == b""
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(port, old_serving, new_client, tmp_path / "c")
            assert seen[3:] == []

    runner(scenario())


def test_what_cannot_be_used_leaves_everything_as_it_was(
    new_pair: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tls = ServingTls(new_pair("apiserver", host="apiserver.test").write(tmp_path))
    tls.update(None)
    used = tls._current
    (tmp_path / "tls.crt").write_text("half a certificate")
    tls.update(None)
    (tmp_path / "tls.crt").unlink()
    tls.update(None)
    assert tls._current is used
    assert len(caplog.records) == 2


def test_nothing_to_serve_with_is_an_error_at_first(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"tls\.crt"):
        ServingTls(tmp_path).update(None)
