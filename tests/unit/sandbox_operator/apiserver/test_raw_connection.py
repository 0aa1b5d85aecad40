"""The connection of an upgrade, on the event loop that the server runs on."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from sandbox_operator.kube.client import Kube
from sandbox_operator.kube.config import ClusterConfig, Token

BYTES = 4 * 1024 * 1024


def test_all_that_was_sent_before_the_close_arrives_however_slowly_it_is_read(
    new_pair: Callable[..., Any], tmp_path: Path
) -> None:
    pair = new_pair("kube", host="kube.test")

    listener = socket.create_server(("127.0.0.1", 0))

    def send() -> None:
        accepted, _ = listener.accept()
        with pair.server(tmp_path).wrap_socket(accepted, server_side=True) as made:
            made.sendall(b"x" * BYTES)

    async def receive() -> int:
        config = ClusterConfig(
            f"https://127.0.0.1:{listener.getsockname()[1]}",
            ssl.create_default_context(cadata=pair.certificate),
            Token(),
            server_name="kube.test",
        )
        async with await Kube.connect(config) as kube:
            sending = asyncio.create_task(asyncio.to_thread(send))
            reader, writer = await kube.open_connection()
            count = 0
            while data := await reader.read(65536):
                count += len(data)
                await asyncio.sleep(0.002)
            writer.close()
            await sending
        listener.close()
        return count

    assert uvloop.run(receive()) == BYTES


def test_another_name_in_the_certificate_is_refused(new_pair: Callable[..., Any], tmp_path: Path) -> None:
    pair = new_pair("kube", host="another.test")

    async def connect() -> None:
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=pair.server(tmp_path))
        port = server.sockets[0].getsockname()[1]
        tls = ssl.create_default_context(cadata=pair.certificate)
        async with await Kube.connect(ClusterConfig(f"https://127.0.0.1:{port}", tls, Token(), "kube.test")) as kube:
            with pytest.raises(ssl.SSLCertVerificationError):
                await kube.open_connection()
        server.close()

    uvloop.run(connect())
