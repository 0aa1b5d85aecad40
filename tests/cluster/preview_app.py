"""The app of test_preview_gateway.py: speaks HTTP byte by byte, so that nothing of it is a library's."""

import asyncio
import hashlib
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

MB = 1 << 20


@dataclass
class Exchange:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    method: str
    target: str
    version: str
    headers: list[list[str]]

    def get(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")

    def whole(self, body: bytes, status: str = "200 OK", *more: str) -> None:
        head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *more, "", ""])
        self.writer.write(head.encode() + (b"" if self.method == "HEAD" else body))

    async def preflight(self) -> None:
        self.whole(b"a secret", "200 OK", f"Access-Control-Allow-Origin: {self.get('origin')}", "X-Secret: 1")

    async def echo(self) -> None:
        self.whole(json.dumps({"target": self.target, "version": self.version, "headers": self.headers}).encode())

    async def upload(self) -> None:
        if self.get("expect"):
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        digest, left = hashlib.sha256(), int(self.get("content-length"))
        while left:
            data = await self.reader.read(min(left, 1 << 16))
            digest.update(data)
            left -= len(data)
        self.whole(json.dumps(digest.hexdigest()).encode())

    async def early(self) -> None:
        self.whole(b"too much", "413 Content Too Large", "Connection: close")
        self.writer.write_eof()
        async with asyncio.timeout(5):  # as servers do that know about resets
            while await self.reader.read(1 << 16):
                pass
        raise ConnectionError

    async def big(self) -> None:
        size = int(self.target.partition("?")[2]) * MB
        self.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        SENT[0] = 0
        while SENT[0] < size:
            self.writer.write(bytes(1 << 18))
            await self.writer.drain()
            SENT[0] += 1 << 18

    async def sent(self) -> None:
        self.whole(json.dumps(SENT[0]).encode())

    async def events(self) -> None:
        self.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while True:
            self.writer.write(b"data: x\n\n")
            await self.writer.drain()
            await asyncio.sleep(0.15)

    async def trailers(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        self.writer.write(head + b"2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n")

    async def range(self) -> None:
        if self.get("range") == "bytes=2-4":
            self.whole(b"234", "206 Partial Content", "Content-Range: bytes 2-4/10")
        else:
            self.whole(b"0123456789")

    async def redirect(self) -> None:
        self.whole(b"", "302 Found", f"Location: http://localhost:{os.environ['PORT']}/there?x=1")

    async def upgrade(self) -> None:
        self.writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        while data := await self.reader.read(1000):
            self.writer.write(data.upper())
        raise ConnectionError


SENT = [0]
"""Bytes of the present download that left the app."""
PATHS: dict[str, Callable[[Exchange], Awaitable[None]]] = {
    "/upload": Exchange.upload,
    "/early": Exchange.early,
    "/big": Exchange.big,
    "/sent": Exchange.sent,
    "/events": Exchange.events,
    "/trailers": Exchange.trailers,
    "/range": Exchange.range,
    "/redirect": Exchange.redirect,
    "/ws": Exchange.upgrade,
}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        version = "HTTP/1.1"
        while version == "HTTP/1.1":
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
            method, target, version = first.split(" ")
            exchange = Exchange(reader, writer, method, target, version, [line.split(": ", 1) for line in lines])
            answer = Exchange.preflight if method == "OPTIONS" else PATHS.get(target.partition("?")[0], Exchange.echo)
            await answer(exchange)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
