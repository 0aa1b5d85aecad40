"""The query of a log request: names and meanings of pods/log, plus ``stream``, ``process`` and ``cursor``. Pure.

Checked twice by this one code: at the edge, where a mistake is cheapest, and by the agent, which trusts nobody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sandbox_protocol.errors import Cause, StatusError
from sandbox_protocol.wire import Stream

STREAMS: tuple[Stream, ...] = ("stdout", "stderr", "system")
TEXT = "text/plain"
NDJSON = "application/x-ndjson"

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_PROCESS = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_CURSOR = re.compile(r"([0-9a-f]{8})\.([0-9a-f]{1,12})\.([0-9a-f]{1,10})")
_NDJSON_WANTED = re.compile(rf"(?:^|,)\s*{re.escape(NDJSON)}\s*(?:;|,|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Names one line for ever. ``log`` is the identity of what is kept on the volume, ``epoch`` the agent's start that wrote the
    line (Unix time in ms, or one more than the epoch before), ``line`` its number in the log.

    The epoch is there because an agent that is killed may have shown lines that never reached the volume: the next one counts
    on from what it finds there, and would use their numbers again.
    """

    log: str
    epoch: int
    line: int

    def __str__(self) -> str:
        return f"{self.log}.{self.epoch:x}.{self.line:x}"


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Times in nanoseconds since 1970; ``tail`` counts whole lines, ``limit`` bytes of the answer."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    stream: Stream | None = None
    process: str | None = None
    tail: int | None = None
    limit: int | None = None
    since_ns: int | None = None
    cursor: Cursor | None = None


def parse(query: Mapping[str, str], now_ns: int) -> LogQuery:
    """StatusError 400 names the parameter. Unknown ones are passed over here, as pods/log does (``container``, ``pretty``, …)."""
    stream = query.get("stream")
    if stream is not None and stream not in STREAMS:
        raise _bad("stream", f"{stream[:40]!r} is none of {', '.join(STREAMS)}")
    process = query.get("process")
    if process is not None and not _PROCESS.fullmatch(process):
        raise _bad("process", f"{process[:40]!r} is not the name of a process: at most 32 of a-z, 0-9 and -")
    since_seconds, since_time = _whole(query, "sinceSeconds", 1), query.get("sinceTime")
    if since_seconds is not None and since_time is not None:
        raise _bad("sinceTime", "give sinceSeconds or sinceTime, not both")
    since = None
    if since_seconds is not None:
        since = max(0, now_ns - since_seconds * 10**9)
    elif since_time is not None:
        since = parse_time(since_time)
    return LogQuery(
        follow=_flag(query, "follow"),
        previous=_flag(query, "previous"),
        timestamps=_flag(query, "timestamps"),
        stream=stream,
        process=process,
        tail=_whole(query, "tailLines", 0),
        limit=_whole(query, "limitBytes", 1),
        since_ns=since,
        cursor=parse_cursor(query["cursor"]) if "cursor" in query else None,
    )


def wants_ndjson(accept: str) -> bool:
    """Whether an ``Accept`` header asks for a JSON object a line; text otherwise, whatever else it says (kubectl's says JSON)."""
    return bool(_NDJSON_WANTED.search(accept))


def parse_cursor(text: str) -> Cursor:
    """As it came with a line, else StatusError 400."""
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise _bad("cursor", f"{text[:40]!r} is not a cursor that came with a line of this log; leave it out to begin anew")
    return Cursor(match[1], int(match[2], 16), int(match[3], 16))


def parse_time(text: str) -> int:
    """RFC 3339 with up to nine digits of a second, in nanoseconds since 1970."""
    match = _RFC3339.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        moment = datetime.fromisoformat(f"{match[1]}T{match[2]}{'+00:00' if match[4] in 'Zz' else match[4]}")
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError):
        raise _bad("sinceTime", f"{text[:40]!r} is not a time such as 2026-01-31T10:00:00Z") from None
    return seconds * 10**9 + int((match[3] or "0").ljust(9, "0"))


def format_time(time_ns: int) -> str:
    """RFC 3339 in UTC, always nine digits, so that lines sort and cut evenly."""
    seconds, nanos = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"


def _flag(query: Mapping[str, str], name: str) -> bool:
    """As Kubernetes reads it: a bare ``?follow`` is true."""
    value = query.get(name)
    if value not in (None, "", "0", "1", "true", "false", "True", "False"):
        raise _bad(name, f"{value[:40]!r} is neither true nor false")
    return value is not None and value not in ("0", "false", "False")


def _whole(query: Mapping[str, str], name: str, least: int) -> int | None:
    value = query.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 18) or int(value) < least:
        raise _bad(name, f"{value[:40]!r} is not a whole number of at least {least}")
    return int(value)


def _bad(name: str, message: str) -> StatusError:
    return StatusError(400, f"{name}: {message}", causes=[Cause(name, "FieldValueInvalid", message)])
