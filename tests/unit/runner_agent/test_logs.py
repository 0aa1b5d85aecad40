import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from runner_agent import logs_query
from runner_agent.logs import LINE_BYTES, LogBook
from runner_agent.logs_query import LogQuery
from sandbox_protocol.errors import StatusError

SECOND = 10**9
T0 = 1_800_000_000 * SECOND


class Clock:
    now = T0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(clock: Clock) -> LogBook:
    return LogBook(clock=clock)


@pytest.fixture
async def client(book: LogBook) -> AsyncIterator[TestClient[Any, Any]]:
    app = web.Application()
    app.router.add_get("/v1/log", book.serve_log)
    async with TestClient(TestServer(app)) as made:
        yield made
        book.close()


def test_lines_are_cut_wherever_the_pieces_are(book: LogBook) -> None:
    for piece in (b"on", b"e\ntwo\r\nth", b"ree\n"):
        book.write("stdout", piece)
    assert book.read(LogQuery()) == b"one\ntwo\nthree\n"


def test_streams_are_told_apart(book: LogBook) -> None:
    book.write("stdout", b"out\n")
    book.write("stderr", b"err\n")
    book.system("sys")
    assert book.read(LogQuery(stream="stderr")) == b"err\n"
    assert book.read(LogQuery(stream="system")) == b"sys\n"


def test_a_line_of_any_length_arrives_whole_and_uses_bounded_memory(book: LogBook) -> None:
    line = bytes(65 + i % 26 for i in range(5 * LINE_BYTES + 7))
    book.write("stdout", line + b"\nnext\n")
    assert book.read(LogQuery()) == line + b"\nnext\n"


def test_the_oldest_lines_go_first(clock: Clock) -> None:
    book = LogBook(256 * 1024, clock)
    for number in range(20_000):
        book.write("stdout", b"%06d %s\n" % (number, b"x" * 30))
    lines = book.read(LogQuery()).splitlines()
    assert not lines[0].startswith(b"000000")
    assert lines[-1].startswith(b"019999")
    assert 1000 < len(lines) < 20_000


def test_a_reader_that_was_too_slow_is_told_how_many_lines_it_lost(clock: Clock) -> None:
    book = LogBook(256 * 1024, clock)
    book.write("stdout", b"seen\n")
    cursor = book._cursor(LogQuery(follow=True))
    assert b"".join(book._batches(cursor)) == b"seen\n"
    for number in range(20_000):
        book.write("stdout", b"%06d %s\n" % (number, b"x" * 30))
    note, *lines = b"".join(book._batches(cursor)).splitlines()
    lost = int(lines[0][:6])
    assert str(lost).encode() in note
    assert [int(line[:6]) for line in lines] == list(range(lost, 20_000))


@pytest.mark.parametrize(("tail", "expected"), [(0, b""), (1, b"3\n"), (2, b"2\n3\n"), (99, b"1\n2\n3\n")])
def test_the_tail_is_the_last_lines(book: LogBook, tail: int, expected: bytes) -> None:
    book.write("stdout", b"1\n2\n3\n")
    assert book.read(LogQuery(tail=tail)) == expected


def test_since_leaves_out_what_is_older(book: LogBook, clock: Clock) -> None:
    book.write("stdout", b"old\n")
    clock.now += 10 * SECOND
    book.write("stdout", b"new\n")
    assert book.read(logs_query.parse({"sinceSeconds": "5"}, clock.now)) == b"new\n"
    assert book.read(LogQuery(since_ns=T0)) == b"old\nnew\n"


def test_timestamps_are_rfc3339_with_nanoseconds(book: LogBook, clock: Clock) -> None:
    clock.now = T0 + 5
    book.write("stdout", b"x\n")
    assert book.read(LogQuery(timestamps=True)) == b"2027-01-15T08:00:00.000000005Z x\n"


def test_limit_bytes_cuts_the_answer(book: LogBook) -> None:
    book.write("stdout", b"abcdef\nghi\n")
    assert book.read(LogQuery(limit=4)) == b"abcd"


def test_previous_is_the_run_before_this_one(book: LogBook) -> None:
    for number in (b"1", b"2", b"3"):
        book.begin_run()
        book.write("stdout", number + b"\n")
    assert book.read(LogQuery(previous=True)) == b"2\n"


def test_an_unfinished_line_ends_with_its_run(book: LogBook) -> None:
    book.write("stdout", b"no end")
    book.begin_run()
    book.write("stdout", b"fresh\n")
    assert book.read(LogQuery()) == b"no end\nfresh\n"


def test_last_lines_are_of_this_run_and_not_blank(book: LogBook) -> None:
    book.write("stdout", b"before\n")
    book.begin_run()
    book.write("stderr", b"a\n\n  \nb\xff\n")
    assert book.last_lines(10) == ["a", "b\ufffd"]
    assert book.last_lines(1) == ["b\ufffd"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tailLines", "-1"),
        ("tailLines", "x"),
        ("tailLines", "٣"),
        ("limitBytes", "0"),
        ("sinceSeconds", "0"),
        ("sinceTime", "yesterday"),
        ("sinceTime", "2026-13-01T00:00:00Z"),
        ("follow", "maybe"),
        ("stream", "stdin"),
    ],
)
def test_a_bad_parameter_is_named(name: str, value: str) -> None:
    with pytest.raises(StatusError) as caught:
        logs_query.parse({name: value}, T0)
    assert caught.value.code == 400
    assert caught.value.causes[0].field == name


async def test_following_brings_what_comes_and_ends_with_the_agent(client: TestClient[Any, Any], book: LogBook) -> None:
    book.write("stdout", b"early\n")
    async with client.get("/v1/log", params={"follow": "true"}) as response:
        assert await response.content.readline() == b"early\n"
        book.write("stdout", b"late\n")
        assert await response.content.readline() == b"late\n"
        book.close()
        assert await response.content.read() == b""


async def test_a_follower_misses_nothing_of_what_is_kept(client: TestClient[Any, Any], book: LogBook) -> None:
    async with client.get("/v1/log", params={"follow": "true"}) as response:
        for start in range(0, 5000, 100):
            book.write("stdout", b"".join(b"%d\n" % n for n in range(start, start + 100)))
            await asyncio.sleep(0)
        for number in range(5000):
            assert await response.content.readline() == b"%d\n" % number
