"""What stays of a connection whose server answers and hangs up while a body is still on its way."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
import warnings
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox_client.api import Api, Request
from sandbox_client.kubeconfig import Connection
from sandbox_operator.controller import certificates

MB = 1 << 20
REFUSAL = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"


def refuse_once(listening: socket.socket, context: ssl.SSLContext, hangs_up: bool, done: threading.Event) -> None:
    """Answers the first bytes of a request, and reads no more of it."""
    accepted, _ = listening.accept()
    with context.wrap_socket(accepted, server_side=True) as stream:
        stream.recv(1000)
        stream.sendall(REFUSAL)
        if hangs_up:
            stream.shutdown(socket.SHUT_WR)
        done.wait(10)


async def send_more_than_is_read(connection: Connection) -> int:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(MB)

    async with Api(connection) as api:
        answer = await api.exchange(Request("POST", "/sync", body=body))
        await answer.read()
        return answer.status


@pytest.mark.parametrize("hangs_up", [False, True])
def test_a_refused_upload_leaves_no_socket_behind(tmp_path: Path, hangs_up: bool) -> None:
    serving = certificates.renewed(["localhost"], b"", datetime.now(UTC))
    (tmp_path / "chain").write_bytes(serving.certificate + serving.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain")
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        thread = threading.Thread(target=refuse_once, args=(listening, context, hangs_up, done))
        thread.start()
        server = f"https://localhost:{listening.getsockname()[1]}"
        assert asyncio.run(send_more_than_is_read(Connection(server, ca_data=serving.authorities.decode()))) == 413
        gc.collect()
        done.set()
        thread.join()
    assert [str(one.message) for one in said] == []
