"""A command in the app's container, in the WebSocket protocol of pods/exec (``v5.channel.k8s.io``).

Each message begins with the number of its channel. On the error channel one metav1.Status comes last: it carries the exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from sandbox_client.api import Api, Query
from sandbox_client.errors import ApiError, Unreachable

PROTOCOL = "v5.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_OUTPUT: dict[int, OutputStream] = {_STDOUT: "stdout", _STDERR: "stderr"}
_PIECE = 32 * 1024
PING_SECONDS = 20.0
"""Load balancers on the way let a connection go that is silent for a minute. Answers are not waited for: a reader that takes its
time (``… | less``) holds them back."""

OutputStream = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a finished command left. 126 and 127 also mean that it could not be run, as in a shell."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class ExecSession:
    """A command that runs. Read :meth:`output` to its end; then :attr:`exit_code` is known."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.exit_code: int | None = None

    async def write(self, data: bytes) -> None:
        """To standard input; returns when it is on its way, so that a command that does not read slows its writer down."""
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):  # it ended without reading; its output tells how
            for at in range(0, len(data), _PIECE):
                await self._socket.send_bytes(bytes([_STDIN]) + data[at : at + _PIECE])

    async def close_stdin(self) -> None:
        """End of file for the command."""
        await self._say(bytes([_CLOSE, _STDIN]))

    async def resize(self, columns: int, rows: int) -> None:
        """Of its terminal."""
        await self._say(bytes([_RESIZE]) + json.dumps({"Width": columns, "Height": rows}).encode())

    async def output(self) -> AsyncIterator[tuple[OutputStream, bytes]]:
        """Pieces as they come, until the command ends. Raises ApiError when the server ended it (the right was withdrawn, the
        runner suspended), Unreachable when the connection broke."""
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel in _OUTPUT and data:
                yield _OUTPUT[channel], data
            elif channel == _ERROR and data:
                self.exit_code = exit_code(json.loads(data))
        if self.exit_code is None:
            raise Unreachable("the connection broke before the command ended; it may still run")

    async def _say(self, message: bytes) -> None:
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):
            await self._socket.send_bytes(message)


def exit_code(status: dict[str, Any]) -> int:
    """Of the Status that ends a session. Raises ApiError when it is not the command that ended."""
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or ()
    told = next((str(cause.get("message")) for cause in causes if cause.get("reason") == "ExitCode"), "")
    if status.get("reason") == "NonZeroExitCode" and told.isdigit():
        return int(told)
    raise ApiError.from_body(int(status.get("code") or 500), {"kind": "Status", **status})


@contextlib.asynccontextmanager
async def opened(api: Api, url_path: str, command: Sequence[str], *, stdin: bool, tty: bool) -> AsyncIterator[ExecSession]:
    """Leaving the context closes the connection. Raises ApiError, Unreachable."""
    streams = {"stdin": stdin, "stdout": True, "stderr": not tty, "tty": tty}
    query: Query = [*(("command", word) for word in command), *((name, "true") for name, wanted in streams.items() if wanted)]
    async with api.websocket(url_path, query, PROTOCOL) as socket:
        pinging = asyncio.create_task(_ping(socket))
        try:
            yield ExecSession(socket)
        finally:
            pinging.cancel()


async def run(api: Api, url_path: str, command: Sequence[str], stdin: bytes | None) -> ExecResult:
    """To its end, all output in memory."""
    found: dict[OutputStream, list[bytes]] = {"stdout": [], "stderr": []}
    async with opened(api, url_path, command, stdin=stdin is not None, tty=False) as session:
        feeding = asyncio.create_task(_feed(session, stdin)) if stdin is not None else None
        try:
            async for stream, data in session.output():
                found[stream].append(data)
        finally:
            if feeding is not None:
                feeding.cancel()
    assert session.exit_code is not None
    return ExecResult(session.exit_code, b"".join(found["stdout"]), b"".join(found["stderr"]))


async def _feed(session: ExecSession, data: bytes) -> None:
    await session.write(data)
    await session.close_stdin()


async def _ping(socket: aiohttp.ClientWebSocketResponse) -> None:
    with contextlib.suppress(ConnectionError, aiohttp.ClientError):
        while not socket.closed:
            await asyncio.sleep(PING_SECONDS)
            await socket.ping()
