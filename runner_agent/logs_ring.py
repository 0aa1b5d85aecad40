"""The newest lines, in memory: what followers and status read without touching the volume. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator

from runner_agent.logs_block import BLOCK_BYTES, Block, Record

_BLOCK_COST = 256
"""Bytes of the objects around a block: a block may hold a single line."""


class Ring:
    """Bounded by bytes. ``first`` to ``next`` (exclusive) are the positions it holds, with gaps where lines were dropped."""

    def __init__(self, limit: int, start: int, blocks: Iterable[Block] = ()) -> None:
        self._limit = max(limit, 2 * BLOCK_BYTES)
        self._blocks: deque[Block] = deque(blocks)
        self._blocks.append(Block(start))
        self._bytes = sum(len(block.data) + _BLOCK_COST for block in self._blocks)

    @property
    def first(self) -> int:
        return self._blocks[0].first

    @property
    def next(self) -> int:
        return self._blocks[-1].end

    def append(self, record: bytes, lines: int) -> None:
        block = self._blocks[-1]
        if len(block.data) >= BLOCK_BYTES:
            block = self._begin(block.end)
        block.data += record
        block.lines += lines
        self._bytes += len(record)

    def skip(self, lines: int) -> None:
        """So many lines are not kept: readers find a gap, and know how long it is."""
        block = self._blocks[-1]
        if block.data:
            self._begin(block.end + lines)
        else:
            block.first += lines

    def blocks(self, start: int) -> Iterator[Block]:
        """Those with lines at or after ``start``. Do not append meanwhile."""
        blocks = list(self._blocks)
        at = bisect_right(blocks, start, key=lambda block: block.first) - 1
        return (block for block in blocks[max(at, 0) :] if block.end > start)

    def newest_first(self) -> Iterator[Record]:
        for block in reversed(self._blocks):
            yield from reversed(list(block.records()))

    def _begin(self, first: int) -> Block:
        self._blocks.append(Block(first))
        self._bytes += _BLOCK_COST
        while self._bytes > self._limit - BLOCK_BYTES:
            self._bytes -= len(self._blocks.popleft().data) + _BLOCK_COST
        return self._blocks[-1]
