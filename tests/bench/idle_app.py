"""The app of tests/bench/idle.py, standard library only: takes WebSockets and says nothing."""

import asyncio
import base64
import hashlib
import os

_PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # of RFC 6455


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the other side says anything or goes away."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in head.split(b"\r\n"))
        }
        key = headers.get(b"sec-websocket-key")
        if key is None:
            writer.write(_PLAIN)
        else:
            writer.write(_UPGRADED % base64.b64encode(hashlib.sha1(key + _MAGIC).digest()))
            await reader.read(1)  # the end, or the frame that asks for it
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, os.environ["HOST"], int(os.environ["PORT"]), backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
