"""What of the log is on the volume, and what becomes of it when agents are killed, disks fill up and files are torn."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner_agent.logs import BURST_BYTES, LogBook
from runner_agent.logs_block import Block, Record, pack, position
from runner_agent.logs_read import open_reader
from runner_agent.logs_serve import LogServer
from runner_agent.logs_store import Store
from runner_agent.logs_writer import PENDING_BYTES, Writer
from sandbox_protocol.log_query import LogQuery, parse_cursor

T0 = 1_800_000_000 * 10**9
MIB = 1024 * 1024


def lines_block(first: int, *texts: bytes) -> Block:
    block = Block(first)
    for text in texts:
        block.data += pack(T0, ("web", "stdout"), text + b"\n", 1)
        block.lines += 1
    return block


def texts(store: Store, start: int = 0) -> list[bytes]:
    blocks, bookmark = store.read(start)
    found = []
    while blocks:
        found += [record.text[:-1] for block in blocks for record in block.records()]
        blocks, bookmark = store.read(blocks[-1].end, bookmark)
    return found


@pytest.fixture
def opening() -> Iterator[Callable[..., Store]]:
    """``opening(folder, …)`` as Store; each one counts as killed when the next is made."""
    made: list[Store] = []

    def make(folder: Path, limit: int = MIB, now: int = T0) -> Store:
        made.append(Store(folder, limit, now))
        return made[-1]

    yield make
    for store in made:
        if store._file is not None:
            store._file.close()


async def opened(folder: Path, limit: int = 32 * MIB, now: int = T0) -> LogBook:
    return LogBook(store=await asyncio.to_thread(Store, folder, limit, now))


async def told(book: LogBook, query: LogQuery | None = None) -> list[dict[str, Any]]:
    answer = await LogServer(book).read(query or LogQuery(), ndjson=True)
    return [json.loads(line) for line in answer.splitlines()]


async def test_lines_and_runs_outlive_the_agent(tmp_path: Path) -> None:
    book = await opened(tmp_path)
    book.begin_run("web")
    book.write("web", "stdout", b"first run\n")
    book.begin_run("web")
    book.write("web", "stdout", b"second run\n")
    seen = await told(book)
    await book.flush()
    successor = await opened(tmp_path)
    successor.write("web", "stdout", b"third agent line\n")
    everything = await told(successor)
    assert everything[:2] == seen
    assert [record["text"] for record in everything] == ["first run", "second run", "third agent line"]
    assert [record["text"] for record in await told(successor, LogQuery(previous=True))] == ["first run"]
    assert successor.last_lines(5, "web") == ["second run", "third agent line"]
    await successor.flush()


async def test_a_killed_agent_repeats_no_line_and_uses_no_cursor_again(tmp_path: Path) -> None:
    """The first agent shows lines that never reach the volume, as if it was killed before its write."""
    book = await opened(tmp_path)
    book.write("web", "stdout", b"kept\n")
    await book.flush()
    book.write("web", "stdout", b"seen only\n")
    await asyncio.to_thread((tmp_path / "closed").unlink)
    seen = await told(book)
    successor = await opened(tmp_path)
    successor.write("web", "stdout", b"new\n")
    rest = await told(successor, LogQuery(cursor=parse_cursor(seen[-1]["cursor"])))
    assert "without notice" in rest[0]["text"]
    assert [record["text"] for record in rest[1:]] == ["new"]
    cursors = [record["cursor"] for record in (*seen, *rest)]
    assert len(set(cursors)) == len(cursors)
    assert not any("lost" in record for record in rest)
    await successor.flush()


@pytest.mark.parametrize("damage", ["cut", "zeros", "flipped"])
def test_a_torn_end_is_cut_and_all_before_it_stays(opening: Callable[..., Store], tmp_path: Path, damage: str) -> None:
    store = opening(tmp_path)
    store.append(lines_block(store.start, b"1", b"2"), (), T0)
    store.append(lines_block(store.start + 2, b"3"), (), T0)
    (path,) = tmp_path.glob("*.log")
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[-2:]
    elif damage == "zeros":
        data += bytes(5000)
    else:
        data[-2] ^= 0xFF
    path.write_bytes(data)
    again = opening(tmp_path)
    assert again.torn
    assert texts(again) == ([b"1", b"2", b"3"] if damage == "zeros" else [b"1", b"2"])
    again.append(lines_block(again.start, b"4"), (), T0)
    assert texts(again)[-1] == b"4"
    assert texts(again, again.start) == [b"4"]


def test_the_volume_holds_no_more_than_the_bound_and_the_oldest_goes_first(opening: Callable[..., Store], tmp_path: Path) -> None:
    store = opening(tmp_path)
    place = store.start
    for number in range(400):
        block = lines_block(place, *(b"%06d" % number + b"x" * 90 for _ in range(100)))
        store.append(block, (), T0)
        place = block.end
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= MIB
    kept = texts(store)
    assert kept[-1].startswith(b"000399")
    assert len(kept) > 5000
    assert store.first > store.start
    smaller = opening(tmp_path, MIB // 2)
    assert smaller.bytes <= MIB // 2


def test_files_that_are_not_ours_are_removed(opening: Callable[..., Store], tmp_path: Path) -> None:
    (tmp_path / "000000000001.log").write_bytes(b"\xff\xfe garbage")
    (tmp_path / "000000000002.log").write_text('{"first":[1],"runs":3}\n')
    store = opening(tmp_path)
    store.append(lines_block(store.start, b"1"), (), T0)
    assert texts(store) == [b"1"]


class Disk(Store):
    """A volume that can be full, or stand still."""

    def __init__(self, folder: Path, limit: int = MIB) -> None:
        self.full = False
        self.moves = threading.Event()
        self.moves.set()
        super().__init__(folder, limit, T0)

    def append(self, *args: Any) -> None:
        self.moves.wait()
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().append(*args)


async def test_a_full_volume_is_told_and_the_log_goes_on_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner_agent.logs_writer.RETRY_SECONDS", 0.01)
    disk = await asyncio.to_thread(Disk, tmp_path)
    book = LogBook(store=disk)
    disk.full = True
    book.write("web", "stdout", b"1\n2\n")
    while len(found := await told(book)) < 3:  # noqa: ASYNC110 - it is a thread that goes on
        await asyncio.sleep(0)
    assert [record["text"] for record in found[:2]] == ["1", "2"]
    assert "not kept on the volume for now: No space left" in found[2]["text"]
    disk.full = False
    book.write("web", "stdout", b"3\n")
    while not any("were not kept on the volume" in record["text"] for record in await told(book)):  # noqa: ASYNC110
        await asyncio.sleep(0)
    await book.flush()
    assert b"3" in await asyncio.to_thread(texts, disk)


async def test_a_disk_that_stands_still_holds_nothing_up_and_its_backlog_is_bounded(tmp_path: Path) -> None:
    disk = await asyncio.to_thread(Disk, tmp_path)
    book = LogBook(store=disk)
    disk.moves.clear()
    for number in range(700):  # more than may wait
        book.write(("web", "api", "worker")[number % 3], "stdout", b"%06d" % number + b"x" * 60_000 + b"\n")
    assert book._writer is not None
    assert book._writer._pending <= PENDING_BYTES
    assert book._writer._dropped > 0
    last = await told(book, LogQuery(tail=1))
    assert "".join(record["text"] for record in last).startswith("000699x")
    disk.moves.set()
    await book.flush()


class Stepwise(Store):
    """A volume that writes a block when it is told to."""

    def __init__(self, folder: Path) -> None:
        self.began, self.may = threading.Semaphore(0), threading.Semaphore(0)
        self.may.release()  # for the first block, which says that there is a log
        super().__init__(folder, MIB, T0)
        self.began.acquire()

    def append(self, *args: Any) -> None:
        self.began.release()
        self.may.acquire()
        super().append(*args)


def test_what_is_being_written_counts_as_waiting(tmp_path: Path) -> None:
    disk = Stepwise(tmp_path)
    writer = Writer(disk, lambda _: None)
    half = PENDING_BYTES // 2 + 1
    writer.put(disk.start, b"1", 1)
    disk.began.acquire()
    writer.put(disk.start + 1, bytes(half), 1)
    disk.may.release()
    disk.began.acquire()  # the half is in its hands now
    writer.put(disk.start + 2, bytes(half), 1)
    assert writer._dropped == 1
    disk.may.release(9)
    writer.close(5)
    assert writer._pending == 0


async def test_what_passes_at_once_is_kept_however_slow_the_disk_is(tmp_path: Path) -> None:
    disk = await asyncio.to_thread(Disk, tmp_path, 32 * MIB)
    book = LogBook(store=disk)
    disk.moves.clear()
    book.write("web", "stdout", b"x" * (BURST_BYTES - 100_000) + b"\n")
    disk.moves.set()
    await book.flush()
    assert sum(len(record["text"]) for record in await told(book)) == BURST_BYTES - 100_000


async def test_a_reader_passes_over_nothing_that_is_in_memory_only_or_on_the_volume_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = LogBook(256 * 1024, store=await asyncio.to_thread(Store, tmp_path, 32 * MIB, T0))

    async def write(first: int, end: int) -> None:
        for number in range(first, end):
            book.write("web", "stdout", b"%05d" % number + b"x" * 75 + b"\n")
        while not book.settled(book.ring.next - 1):  # noqa: ASYNC110 - it is a thread that goes on
            await asyncio.sleep(0)

    await write(0, 100)
    with monkeypatch.context() as patch:
        patch.setattr("runner_agent.logs_writer.PENDING_BYTES", 0)
        await write(100, 4000)  # in memory only, and not all of it
    await write(4000, 4100)
    reader = await open_reader(book, LogQuery(follow=True))
    found = await reader.read() + await reader.read()  # up to within memory
    await write(4100, 8000)
    while items := await reader.read():
        found += items
    web = [item for item in found if isinstance(item, Record) and item.process == "web"]
    numbers = [int(line[:5]) for record in web for line in record.text.splitlines()]
    assert numbers[-4000:] == list(range(4000, 8000))
    assert numbers[100] < 4000, "what is in memory only was passed over"
    await book.flush()


async def test_a_slow_reader_finds_on_the_volume_what_memory_let_go(tmp_path: Path) -> None:
    book = await opened(tmp_path)
    for number in range(30_000):
        book.write("web", "stdout", b"%05d" % number + b"x" * 75 + b"\n")
    assert book.ring.first > book.first
    found = await told(book)
    assert [int(record["text"][:5]) for record in found] == list(range(30_000))
    tail = await told(book, LogQuery(tail=20_000))
    assert [int(record["text"][:5]) for record in tail] == list(range(10_000, 30_000))
    await book.flush()


def test_positions_sort_by_epoch_then_line() -> None:
    assert position(1, 5) < position(1, 6) < position(2, 1)


def test_a_block_with_a_right_sum_and_no_records_ends_the_log_there(opening: Callable[..., Store], tmp_path: Path) -> None:
    store = opening(tmp_path, 32 * MIB, T0)
    store.append(lines_block(store.start, b"good"), (), T0)
    for data in (b"short", pack(T0, ("web", "stdout"), b"x\n", 1)[:-1], b"\0" * 14 + b"\x0f\0"):
        with pytest.raises(ValueError, match="record"):
            list(Block(0, 1, data).records())
    store.append(Block(store.start + 1, 1, b"short"), (), T0)
    assert texts(opening(tmp_path, 32 * MIB, T0)) == [b"good"]
