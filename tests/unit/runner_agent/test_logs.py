import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from runner_agent.logs import BURST_BYTES, LogBook
from runner_agent.logs_block import TEXT_BYTES, Record, line_of
from runner_agent.logs_read import Gap, open_reader
from runner_agent.logs_serve import LogServer
from sandbox_protocol import log_query
from sandbox_protocol.errors import StatusError
from sandbox_protocol.log_query import LogQuery

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


EVERYTHING = LogQuery()


async def read(book: LogBook, query: LogQuery = EVERYTHING, *, ndjson: bool = False) -> bytes:
    return await LogServer(book, lambda: T0).read(query, ndjson=ndjson)


@pytest.fixture
async def client(book: LogBook) -> AsyncIterator[TestClient[Any, Any]]:
    app = web.Application()
    app.router.add_get("/v1/log", LogServer(book).serve)
    async with TestClient(TestServer(app)) as made:
        yield made
        book.close()


async def test_lines_are_cut_wherever_the_pieces_are(book: LogBook) -> None:
    for piece in (b"on", b"e\ntwo\r\nth", b"ree\n"):
        book.write("web", "stdout", piece)
    assert await read(book) == b"one\ntwo\nthree\n"


async def test_streams_are_told_apart(book: LogBook) -> None:
    book.write("web", "stdout", b"out\n")
    book.write("web", "stderr", b"err\n")
    book.system("sys")
    assert await read(book, LogQuery(stream="stderr")) == b"err\n"
    assert await read(book, LogQuery(stream="system")) == b"sys\n"


async def test_a_line_of_any_length_arrives_whole_and_uses_bounded_memory(book: LogBook) -> None:
    line = bytes(65 + i % 26 for i in range(5 * TEXT_BYTES + 7))
    book.write("web", "stdout", line + b"\nnext\n")
    assert await read(book) == line + b"\nnext\n"


async def test_the_oldest_lines_go_first(clock: Clock) -> None:
    book = LogBook(256 * 1024, clock)
    for number in range(20_000):
        book.write("web", "stdout", b"%06d %s\n" % (number, b"x" * 30))
    lines = (await read(book)).splitlines()
    assert not lines[0].startswith(b"000000")
    assert lines[-1].startswith(b"019999")
    assert 1000 < len(lines) < 20_000


async def test_a_reader_that_was_too_slow_is_told_how_many_lines_it_lost(clock: Clock) -> None:
    book = LogBook(256 * 1024, clock)
    book.write("web", "stdout", b"seen\n")
    reader = await open_reader(book, LogQuery(follow=True))
    assert len(await reader.read()) == 1
    for number in range(20_000):
        book.write("web", "stdout", b"%06d %s\n" % (number, b"x" * 30))
    items = await reader.read()
    while more := await reader.read():
        items += more
    gap, *records = items
    assert isinstance(gap, Gap)
    lines = b"".join(record.text for record in records if isinstance(record, Record)).splitlines()
    lost = int(lines[0][:6])
    assert gap.count == lost
    assert [int(line[:6]) for line in lines] == list(range(lost, 20_000))


@pytest.mark.parametrize(("tail", "expected"), [(0, b""), (1, b"3\n"), (2, b"2\n3\n"), (99, b"1\n2\n3\n")])
async def test_the_tail_is_the_last_lines(book: LogBook, tail: int, expected: bytes) -> None:
    book.write("web", "stdout", b"1\n2\n3\n")
    assert await read(book, LogQuery(tail=tail)) == expected


async def test_since_leaves_out_what_is_older(book: LogBook, clock: Clock) -> None:
    book.write("web", "stdout", b"old\n")
    clock.now += 10 * SECOND
    book.write("web", "stdout", b"new\n")
    assert await read(book, log_query.parse({"sinceSeconds": "5"}, clock.now)) == b"new\n"
    assert await read(book, LogQuery(since_ns=T0)) == b"old\nnew\n"


async def test_timestamps_are_rfc3339_with_nanoseconds(book: LogBook, clock: Clock) -> None:
    clock.now = T0 + 5
    book.write("web", "stdout", b"x\n")
    assert await read(book, LogQuery(timestamps=True)) == b"2027-01-15T08:00:00.000000005Z x\n"


async def test_limit_bytes_cuts_the_answer(book: LogBook) -> None:
    book.write("web", "stdout", b"abcdef\nghi\n")
    assert await read(book, LogQuery(limit=4)) == b"abcd"


async def test_previous_is_the_run_before_this_one(book: LogBook) -> None:
    for number in (b"1", b"2", b"3"):
        book.begin_run("web")
        book.write("web", "stdout", number + b"\n")
    assert await read(book, LogQuery(previous=True)) == b"2\n"


async def test_previous_is_the_run_before_of_each_process(book: LogBook) -> None:
    book.begin_run("web")
    book.write("web", "stdout", b"web 1\n")
    book.begin_run("worker")
    book.write("worker", "stdout", b"worker 1\n")
    book.begin_run("web")
    book.write("web", "stdout", b"web 2\n")
    book.begin_run("worker")
    assert await read(book, LogQuery(previous=True)) == b"web 1\nworker 1\n"
    assert await read(book, LogQuery(previous=True, process="worker")) == b"worker 1\n"


async def test_processes_are_told_apart(book: LogBook) -> None:
    book.write("web", "stdout", b"half a ")
    book.write("worker", "stdout", b"other\n")
    book.write("web", "stdout", b"line\n")
    book.system("ours")
    assert await read(book, LogQuery(process="web")) == b"half a line\n"
    assert await read(book, LogQuery(process="agent")) == b"ours\n"
    assert book.last_lines(9, "worker") == ["other"]


async def test_an_unfinished_line_ends_with_its_run(book: LogBook) -> None:
    book.write("web", "stdout", b"no end")
    book.begin_run("web")
    book.write("web", "stdout", b"fresh\n")
    assert await read(book) == b"no end\nfresh\n"


async def test_last_lines_are_of_this_run_and_not_blank(book: LogBook) -> None:
    book.write("web", "stdout", b"before\n")
    book.begin_run("web")
    book.write("web", "stderr", b"a\n\n  \nb\xff\n")
    assert book.last_lines(10, "web") == ["a", "b\ufffd"]
    assert book.last_lines(1, "web") == ["b\ufffd"]


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
        log_query.parse({name: value}, T0)
    assert caught.value.code == 400
    assert caught.value.causes[0].field == name


async def test_following_brings_what_comes_and_ends_with_the_agent(client: TestClient[Any, Any], book: LogBook) -> None:
    book.write("web", "stdout", b"early\n")
    async with client.get("/v1/log", params={"follow": "true"}) as response:
        assert await response.content.readline() == b"early\n"
        book.write("web", "stdout", b"late\n")
        assert await response.content.readline() == b"late\n"
        book.close()
        assert await response.content.read() == b""


async def test_a_follower_misses_nothing_of_what_is_kept(client: TestClient[Any, Any], book: LogBook) -> None:
    async with client.get("/v1/log", params={"follow": "true"}) as response:
        for start in range(0, 5000, 100):
            book.write("web", "stdout", b"".join(b"%d\n" % n for n in range(start, start + 100)))
            await asyncio.sleep(0)
        for number in range(5000):
            assert await response.content.readline() == b"%d\n" % number


async def test_ndjson_tells_cursor_time_process_and_stream(book: LogBook) -> None:
    book.write("web", "stderr", 'say "hi"\t\x1b[31m\xff\n'.encode("latin-1"))
    (line,) = (await read(book, ndjson=True)).splitlines()
    record = json.loads(line)
    assert record.pop("cursor").startswith(f"{book.identity}.")
    assert record == {
        "time": "2027-01-15T08:00:00.000000000Z",
        "process": "web",
        "stream": "stderr",
        "text": 'say "hi"\t\x1b[31m\ufffd',
    }


async def test_a_cursor_continues_after_its_line(book: LogBook) -> None:
    book.write("web", "stdout", b"1\n2\n3\n")
    first = json.loads((await read(book, ndjson=True)).splitlines()[0])
    book.write("web", "stdout", b"4\n")
    assert await read(book, log_query.parse({"cursor": first["cursor"]}, T0)) == b"2\n3\n4\n"


async def test_the_parts_of_a_long_line_keep_their_characters_whole(book: LogBook) -> None:
    text = "é" * TEXT_BYTES
    book.write("web", "stdout", b"x" + text.encode() + b"\n")
    parts = [json.loads(line) for line in (await read(book, ndjson=True)).splitlines()]
    assert "".join(part["text"] for part in parts) == "x" + text
    assert [part.get("partial", False) for part in parts] == [True] * (len(parts) - 1) + [False]
    assert len({part["cursor"] for part in parts}) == len(parts)


async def test_limit_bytes_never_cuts_an_object(book: LogBook) -> None:
    book.write("web", "stdout", b"1\n2\n3\n")
    whole = await read(book, ndjson=True)
    cut = await read(book, LogQuery(limit=len(whole) - 1), ndjson=True)
    assert [json.loads(line)["text"] for line in cut.splitlines()] == ["1", "2"]


@pytest.mark.parametrize("change", [{"log": "00000000"}, {"epoch": 1 << 44}, {"line": 1 << 30}])
async def test_a_cursor_of_another_log_is_gone_and_the_oldest_is_named(book: LogBook, change: dict[str, Any]) -> None:
    book.write("web", "stdout", b"1\n")
    cursor = log_query.parse_cursor(json.loads(await read(book, ndjson=True))["cursor"])
    with pytest.raises(StatusError) as caught:
        await open_reader(book, LogQuery(cursor=replace(cursor, **change)))
    assert caught.value.code == 410
    oldest = caught.value.message.partition("comes after ")[2].split(" ")[0].removesuffix(".")
    assert await read(book, LogQuery(cursor=log_query.parse_cursor(oldest))) == b"1\n"


async def test_a_flood_is_dropped_early_and_counted(book: LogBook, clock: Clock) -> None:
    line = b"x" * 99 + b"\n"
    written = 0
    while written < 3 * BURST_BYTES:  # no time passes
        book.write("web", "stdout", line * 2000 + b"half")
        written += 2000 * len(line)
    book.write("worker", "stdout", b"another process has its own budget\n")
    clock.now += 2 * SECOND
    book.write("web", "stdout", b"way\nafter\n")
    lines = (await read(book)).splitlines()
    assert lines[-1] == b"after"
    assert b"another process has its own budget" in lines
    assert any(b"lines are missing here" in text for text in lines)
    assert line_of(book.ring.next) == pytest.approx(written // len(line), rel=0.05)
    assert book.ring._bytes <= 1024 * 1024


async def test_the_last_lines_of_a_flood_are_kept(book: LogBook, clock: Clock) -> None:
    for _ in range(40):
        book.write("web", "stdout", (b"x" * 999 + b"\n") * 1000)
    book.write("web", "stdout", (b"x" * 99 + b"\n") * 10_000 + b"Error: this is why\n")
    assert (await read(book, LogQuery(tail=1))) == b"Error: this is why\n"
    book.end_lines("web")
    assert (await read(book)).count(b"Error: this is why\n") == 1


async def test_a_reader_that_does_not_read_holds_nothing_up(client: TestClient[Any, Any], book: LogBook, clock: Clock) -> None:
    async with client.get("/v1/log", params={"follow": "true"}) as response:
        for _ in range(200):
            book.write("web", "stdout", (b"x" * 99 + b"\n") * 1000)
            clock.now += SECOND
            await asyncio.sleep(0)
        assert book.ring._bytes <= 1024 * 1024
        book.close()
        text = await response.content.read()
    assert b"lines are missing here" in text
    assert text.endswith(b"x\n")
