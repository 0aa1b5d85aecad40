"""How lines are packed, in memory and on the volume alike: a record is a piece of output as it arrived, a block a run of records.

Not a Python object a line, nor even a record a line: dev servers write short lines, floods many, and what arrived together has
one time, process and stream. So storing costs a copy, and only who reads pays for each line. Pure: the caller brings the clock.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from sandbox_protocol.log_query import STREAMS
from sandbox_protocol.wire import Stream

TEXT_BYTES = 16 * 1024
"""Of one record. A longer line is kept in parts of this size, as container runtimes do, and joined again when it is read."""
BLOCK_BYTES = 64 * 1024

_RECORD = struct.Struct("<qIHBB")  # nanoseconds, lines, bytes of text, stream and flags, bytes of the process's name
_STREAM, _MARK, _PARTIAL = 0x0F, 0x40, 0x80
_BLOCK = struct.Struct(
    "<4sIIIQQ"
)  # magic, CRC-32 of all that follows it, bytes of records, lines, epoch, number of the first line
_MAGIC = b"alb1"
_MAX_PAYLOAD = 16 * 1024 * 1024
_SHIFT = 40
_LINE = (1 << _SHIFT) - 1


def position(epoch: int, line: int) -> int:
    """Where a line is, as one number: of two lines, the later one has the greater. 2^40 lines are years of the hardest flood."""
    return epoch << _SHIFT | line


def epoch_of(place: int) -> int:
    return place >> _SHIFT


def line_of(place: int) -> int:
    """Number of the line at ``place``: it goes on counting from epoch to epoch."""
    return place & _LINE


class Record(NamedTuple):
    """``text`` is whole lines, each with its LF, or one part of a line without (``partial``: the next record of the same process
    and stream continues it, as CRI's P). ``mark`` says that a run of the process begins here; it has no line."""

    position: int
    lines: int
    time_ns: int
    process: str
    stream: Stream
    text: bytes
    partial: bool = False
    mark: bool = False


def pack(time_ns: int, writer: tuple[str, Stream], text: bytes, lines: int, *, partial: bool = False) -> bytes:
    """A record of at most TEXT_BYTES of ``text``, of a process and its stream; 0 ``lines`` make it a mark."""
    process, stream = writer
    name = process.encode()
    flags = STREAMS.index(stream) | (_PARTIAL if partial else 0) | (0 if lines else _MARK)
    return _RECORD.pack(time_ns, lines, len(text), flags, len(name)) + name + text


@dataclass(slots=True)
class Block:
    """Records whose lines follow each other without a gap, the first one at ``first``."""

    first: int
    lines: int = 0
    data: bytes | bytearray = field(default_factory=bytearray)

    @property
    def end(self) -> int:
        """Position of the line after the last."""
        return self.first + self.lines

    def records(self) -> Iterator[Record]:
        """Of what was there when it began: the block may grow meanwhile. ValueError if it is none of ours."""
        at, place, data = 0, self.first, bytes(self.data)
        names: dict[bytes, str] = {}
        while at < len(data):
            if len(data) - at < _RECORD.size:
                raise ValueError("a record is cut")
            time_ns, lines, length, flags, name_length = _RECORD.unpack_from(data, at)
            at += _RECORD.size
            if len(data) - at < name_length + length or flags & _STREAM >= len(STREAMS):
                raise ValueError("a record is none of ours")
            name = data[at : at + name_length]
            if name not in names:
                names[name] = name.decode()
            at += name_length
            text = data[at : at + length]
            at += length
            yield Record(
                place, lines, time_ns, names[name], STREAMS[flags & _STREAM], text, bool(flags & _PARTIAL), bool(flags & _MARK)
            )
            place += lines

    def encode(self) -> bytes:
        """For the volume."""
        rest = _BLOCK.pack(_MAGIC, 0, len(self.data), self.lines, epoch_of(self.first), line_of(self.first))[8:]
        crc = zlib.crc32(self.data, zlib.crc32(rest))
        return b"".join((_MAGIC, crc.to_bytes(4, "little"), rest, self.data))


def read_blocks(file: BinaryIO, start: int) -> Iterator[Block]:
    """Blocks from where ``file`` stands that end after ``start``, up to the first torn one; it stands after each in turn."""
    while len(header := file.read(_BLOCK.size)) == _BLOCK.size:
        magic, crc, size, lines, epoch, line = _BLOCK.unpack(header)
        if magic != _MAGIC or size > _MAX_PAYLOAD:
            return
        block = Block(position(epoch, line), lines)
        if block.end <= start:
            file.seek(size, os.SEEK_CUR)
            continue
        block.data = file.read(size)
        if len(block.data) != size or zlib.crc32(block.data, zlib.crc32(header[8:])) != crc:
            return
        yield block
