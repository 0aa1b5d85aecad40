"""The preview gateway on this machine's 127.0.0.1:8090: `python -m devcluster.forward`.

A socket stays in the network namespace it was made in. This process binds its listening socket on the machine, then enters
the node's namespace, where it makes its outgoing ones: browsers reach the gateway, and no route from pods to the machine is
opened.
"""

import asyncio
import ctypes
import os
import socket
import sys

from devcluster.namespaces import NETNS_FOLDER
from devcluster.settings import NODE_ADDRESS, NODE_NETNS, PREVIEW_LISTEN, PREVIEW_NODE_PORT

_CLONE_NEWNET = 0x40000000
_CHUNK = 64 * 1024


def enter_network(name: str) -> None:
    """Move the calling thread into the network namespace `name` (os.setns comes with Python 3.12)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with (NETNS_FOLDER / name).open("rb") as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(NETNS_FOLDER / name))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until end of stream, never holding more than a few chunks, then close only this direction."""
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def splice(client: asyncio.StreamReader, to_client: asyncio.StreamWriter, target: tuple[str, int]) -> None:
    """Join one accepted connection with a new one to `target`; a refused target closes the client's at once."""
    try:
        server, to_server = await asyncio.open_connection(*target)
    except OSError:
        to_client.close()
        return
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(pump(client, to_server))
            group.create_task(pump(server, to_client))
    except* OSError:  # one side reset: neither is of use any more
        pass
    finally:
        to_server.close()
        to_client.close()


async def serve(listening: socket.socket, target: tuple[str, int]) -> None:
    """Accept for ever."""

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await splice(reader, writer, target)

    server = await asyncio.start_server(accepted, sock=listening)
    async with server:
        await server.serve_forever()


def main() -> None:
    listening = socket.create_server(PREVIEW_LISTEN, backlog=512)
    enter_network(NODE_NETNS)
    print(f"{PREVIEW_LISTEN[0]}:{PREVIEW_LISTEN[1]} -> {NODE_ADDRESS}:{PREVIEW_NODE_PORT}", file=sys.stderr, flush=True)
    asyncio.run(serve(listening, (NODE_ADDRESS, PREVIEW_NODE_PORT)))


if __name__ == "__main__":
    main()
