"""What a stream brings at once, taken at once: all whole lines of a received chunk, and all records in them.

A generator's turn, and above all the way from the event loop into the thread of a blocking caller, cost more than a line does; so
they are paid once a chunk. No chunk is asked for before the last item of the one before is taken, so that what a slow reader does
not take waits in the connection, and at last in the log of the pod.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, Protocol, Self, TypeVar

from sandbox_client.records import LogRecord

T = TypeVar("T")

_object_of = json.JSONDecoder().raw_decode  # json.loads first looks for encodings and white space: three times as long


class Received(Protocol):
    """Of aiohttp's StreamReader: whatever has come, at least a byte; nothing at the end."""

    def readany(self) -> Awaitable[bytes]: ...


class Batched(AsyncGenerator[T, None]):
    """One by one (``async for item in …``), or as they came (``async for some in ….batches``: never empty lists); only one of
    the two. Closing it closes the connection below, however far it was read."""

    def __init__(self, batches: AsyncGenerator[list[T], None]) -> None:
        self.batches = batches
        self._items = _each(batches)

    def __aiter__(self) -> AsyncGenerator[T, None]:
        return self._items  # the interpreter's own kind: no call of ours for each item

    def asend(self, value: None) -> Any:
        return self._items.asend(value)

    def athrow(self, *error: Any) -> Any:
        return self._items.athrow(*error)

    async def aclose(self) -> None:
        await self._items.aclose()
        await self.batches.aclose()  # of which the items know nothing unless they were begun


class Lines:
    """The lines of a stream, without their ends, a list for each chunk that ends one; what follows the last end comes last.

    One that has not ended after ``longest`` bytes comes in pieces: whoever writes it must not be able to fill our memory.
    """

    def __init__(self, content: Received, longest: int) -> None:
        self._content = content
        self._longest = longest
        self._rest = b""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[bytes]:
        while chunk := await self._content.readany():
            found, self._rest = cut(self._rest + chunk, self._longest)
            if found:
                return found
        last, self._rest = self._rest, b""
        if last:
            return [last]
        raise StopAsyncIteration


def cut(data: bytes, longest: int) -> tuple[list[bytes], bytes]:
    """The lines that have ended, and the begun one, of which at most ``longest`` bytes are kept: the pieces before are lines."""
    *found, rest = data.split(b"\n")
    while len(rest) > longest:
        found.append(rest[:longest])
        rest = rest[longest:]
    return found, rest


def records(lines: Iterable[bytes]) -> tuple[list[LogRecord], bool]:
    """Up to the first line that is none, as where a connection broke amid a record; and whether there was no such line."""
    found: list[LogRecord] = []
    for line in lines:
        try:
            found.append(_record(line.decode()))
        except (ValueError, KeyError, TypeError):
            return found, False
    return found, True


def texts(lines: Sequence[bytes]) -> list[str]:
    """An app may write what is no UTF-8."""
    return [line.decode(errors="replace") for line in lines]


def _record(line: str) -> LogRecord:
    body, end = _object_of(line)
    if end != len(line):
        raise ValueError("more than an object")
    return LogRecord.from_json(body)


async def _each(batches: AsyncGenerator[list[T], None]) -> AsyncGenerator[T, None]:
    async with aclosing(batches):
        async for batch in batches:
            for item in batch:
                yield item
