"""What a stream brings at once is taken at once, and no more of it than its reader wants."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_client import blocking, logs
from sandbox_client.api import Api
from sandbox_client.batches import Batched, Lines, cut, records
from tests.unit.sandbox_client.fake_api import T0


class Chunks:
    """A stream that brings these; ``reads`` counts how often it was asked."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = list(chunks)
        self.reads = 0

    async def readany(self) -> bytes:
        self.reads += 1
        return self._chunks.pop(0) if self._chunks else b""

    @asynccontextmanager
    async def open(self, *_: object, **__: object) -> AsyncIterator[Any]:
        yield SimpleNamespace(content=self)


def record(number: int) -> bytes:
    return (
        json.dumps({"cursor": str(number), "time": T0, "process": "web", "stream": "stdout", "text": f"{number}"}).encode()
        + b"\n"
    )


def chunk(*numbers: int) -> bytes:
    return b"".join(map(record, numbers))


def log(content: Chunks) -> Batched[Any]:
    return Batched(logs.records(cast("Api", content), "/log", logs.Query()))


async def split(chunks: Iterable[bytes], longest: int = 100) -> list[list[bytes]]:
    return [lines async for lines in Lines(Chunks(chunks), longest)]


async def test_all_lines_that_end_in_a_chunk_come_together_and_the_begun_one_with_its_end() -> None:
    assert await split([b"a\n\nb", b"c", b"d\ne\n", b"f"]) == [[b"a", b""], [b"bcd", b"e"], [b"f"]]
    assert await split([]) == []


@given(st.lists(st.binary(min_size=1, max_size=9).map(lambda data: data.replace(b"\0", b"\n")), max_size=99))
async def test_lines_are_the_same_however_the_stream_is_cut(chunks: list[bytes]) -> None:
    whole = b"".join(chunks).split(b"\n")
    assert [line for lines in await split(chunks, 1000) for line in lines] == whole[:-1] + [line for line in whole[-1:] if line]


@given(st.lists(st.sampled_from((b"x", b"y" * 7, b"z" * 30, b"\n"))))
def test_of_a_line_that_never_ends_no_more_is_kept_than_the_bound(chunks: list[bytes]) -> None:
    rest, found = b"", []
    for data in chunks:
        lines, rest = cut(rest + data, 10)
        found += lines
        assert len(rest) <= 10
    assert b"".join([*found, rest]) == b"".join(chunks).replace(b"\n", b"")


@pytest.mark.parametrize(
    "none", [b'{"cursor":', b"", b"{}", b"[]", b"null", b'"text"', b"\xff", record(3)[:-1] + b" more", record(3)[:-2]]
)
def test_records_are_read_up_to_the_first_line_that_is_none(none: bytes) -> None:
    found, whole = records([record(1)[:-1], record(2)[:-1], none, record(4)[:-1]])
    assert [item.text for item in found] == ["1", "2"]
    assert not whole


async def test_the_records_of_a_chunk_are_one_batch() -> None:
    assert [[item.text for item in batch] async for batch in log(Chunks([chunk(1, 2, 3), chunk(4, 5)])).batches] == [
        ["1", "2", "3"],
        ["4", "5"],
    ]


async def test_no_chunk_is_read_before_the_last_record_of_the_one_before_is_taken() -> None:
    content = Chunks([chunk(1, 2, 3), chunk(4, 5)])
    async with aclosing(log(content)) as found:
        for taken, reads in ((1, 1), (2, 1), (3, 1), (4, 2), (5, 2)):
            assert (await anext(found)).text == str(taken)
            assert content.reads == reads


def test_a_blocking_reader_reads_no_further_ahead_and_waits_once_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    content = Chunks([chunk(1, 2, 3), chunk(4, 5)])
    waits, run = 0, blocking._Loop.run

    def counted(work: Any) -> Any:
        nonlocal waits
        waits += 1
        return run(work)

    monkeypatch.setattr(blocking._Loop, "run", counted)
    found = blocking._iterating(log)(SimpleNamespace(_inner=content))
    for taken, reads in ((1, 1), (2, 1), (3, 1), (4, 2), (5, 2)):
        assert next(found).text == str(taken)
        assert (content.reads, waits) == (reads, reads)
    assert list(found) == []


async def test_closing_ends_the_stream_whether_items_batches_or_nothing_was_taken() -> None:
    for begun in ("items", "batches", "nothing"):
        found = log(Chunks([chunk(1, 2)]))
        if begun != "nothing":
            await anext(found if begun == "items" else found.batches)
        await found.aclose()
        for left in (found, found.batches):
            with pytest.raises(StopAsyncIteration):
                await anext(left)
