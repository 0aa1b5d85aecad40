"""How a log looks on the wire: text as the app wrote it, or a JSON object a line. Pure."""

from __future__ import annotations

from json.encoder import encode_basestring as quoted
from typing import Protocol

from runner_agent.logs_block import Record, epoch_of, line_of
from sandbox_protocol.log_query import Cursor, format_time


class Renderer(Protocol):
    """``done``: ``limitBytes`` is reached, nothing more may follow."""

    done: bool

    def render(self, record: Record) -> bytes: ...
    def lost(self, before: int, count: int, now_ns: int) -> bytes:
        """``count`` lines are missing before the one at position ``before``."""


class Text:
    """Parts of a line are joined as long as no other stream comes between. ``limit`` cuts anywhere, as it does for pods/log."""

    def __init__(self, *, timestamps: bool, limit: int | None) -> None:
        self.done = False
        self._timestamps = timestamps
        self._left = limit
        self._within: tuple[str, str] | None = None  # the process and stream whose line is not finished yet

    def render(self, record: Record) -> bytes:
        writer, text = (record.process, record.stream), record.text
        begins = self._within != writer
        if self._timestamps:
            stamp = format_time(record.time_ns).encode() + b" "
            body = text if record.partial else text[:-1]
            text = (stamp if begins else b"") + body.replace(b"\n", b"\n" + stamp) + (b"" if record.partial else b"\n")
        if begins and self._within is not None:
            text = b"\n" + text
        self._within = writer if record.partial else None
        return self._cut(text)

    def lost(self, before: int, count: int, now_ns: int) -> bytes:
        return self.render(Record(before, 1, now_ns, "agent", "system", f"{_missing(count)}\n".encode()))

    def _cut(self, text: bytes) -> bytes:
        if self._left is not None:
            text = text[: self._left]
            self._left -= len(text)
            self.done = self._left <= 0
        return text


class Ndjson:
    """``{"cursor","time","process","stream","text"}``; ``"partial":true`` when the line goes on in the next object of its process
    and stream. ``limit`` counts whole objects only."""

    def __init__(self, identity: str, *, limit: int | None) -> None:
        self.done = False
        self._identity = identity
        self._left = limit

    def render(self, record: Record) -> bytes:
        head = f'{{"cursor":"{self._identity}.{epoch_of(record.position):x}.'
        middle = f'","time":"{format_time(record.time_ns)}","process":{quoted(record.process)},"stream":"{record.stream}","text":'
        end = ',"partial":true}\n' if record.partial else "}\n"
        text = record.text.decode(errors="replace")
        lines = [text] if record.partial else text.split("\n")[:-1]
        first = line_of(record.position)
        return self._cut([f"{head}{number:x}{middle}{quoted(line)}{end}" for number, line in enumerate(lines, first)])

    def lost(self, before: int, count: int, now_ns: int) -> bytes:
        cursor = Cursor(self._identity, epoch_of(before), max(line_of(before) - 1, 0))
        return self._cut(
            [
                f'{{"cursor":"{cursor}","time":"{format_time(now_ns)}","process":"agent","stream":"system",'
                f'"text":{quoted(_missing(count))},"lost":{count}}}\n'
            ]
        )

    def _cut(self, objects: list[str]) -> bytes:
        if self._left is None:
            return "".join(objects).encode()
        kept = b""
        for item in objects:
            encoded = item.encode()
            if len(kept) + len(encoded) > self._left:
                self.done = True
                break
            kept += encoded
        self._left -= len(kept)
        return kept


def _missing(count: int) -> str:
    return f"some {count} lines are missing here: they came faster than they could be kept or read"
