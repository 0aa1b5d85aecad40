"""Frames between launcher and agent, on the agent's side: what arrives is written by untrusted code.

A frame is 4 bytes of length (big-endian, of what follows, at most 1 MiB), one byte of type, and the payload.
Anything else ends the connection (:class:`FrameError`). Pure.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

MAX_FRAME = 1 << 20
MAX_CONTROL = 1 << 14
"""Of a JSON frame from the launcher. The longest it has cause to send is ``exited`` with a reason of about 1 kB."""
MAX_LABEL = 256
_HEADER = struct.Struct(">IB")


class FrameError(Exception):
    """The peer does not speak the protocol; the message says where."""


class Kind(IntEnum):
    CONTROL = 0
    STDOUT = 1
    STDERR = 2
    SYSTEM = 3


@dataclass(frozen=True, slots=True)
class RunningRun:
    """What the launcher still runs when it (re)connects; ``label`` is what the agent said at the start."""

    id: int
    pid: int
    label: str


@dataclass(frozen=True, slots=True)
class Hello:
    pid: int
    running: RunningRun | None


@dataclass(frozen=True, slots=True)
class Started:
    id: int
    pid: int


@dataclass(frozen=True, slots=True)
class Exited:
    """Nothing of run ``id`` is left. Exactly one of the two is set, or neither when ``error`` says why it never ran."""

    id: int
    exit_code: int | None
    signal: int | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    memory_bytes: int


Message = Hello | Started | Exited | Usage


def encode(kind: Kind, payload: bytes) -> bytes:
    return _HEADER.pack(len(payload) + 1, kind) + payload


def start(run_id: int, command: Sequence[str], cwd: str, env: Mapping[str, str], label: str) -> bytes:
    return _control({"type": "start", "id": run_id, "command": list(command), "cwd": cwd, "env": dict(env), "label": label})


def stop(run_id: int, grace: float) -> bytes:
    """Ends run ``run_id``: SIGTERM to all of it, SIGKILL after ``grace`` seconds. Always answered by ``exited``."""
    return _control({"type": "stop", "id": run_id, "gracePeriodSeconds": grace})


def usage() -> bytes:
    return _control({"type": "usage"})


def _control(message: Mapping[str, Any]) -> bytes:
    return encode(Kind.CONTROL, json.dumps(message, separators=(",", ":")).encode())


class Decoder:
    """Cuts a byte stream into frames; holds at most one incomplete frame."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """The frames that are complete now. Exhaust the iterator before feeding again."""
        self._buffer += data
        position = 0
        try:
            while len(self._buffer) - position >= _HEADER.size:
                length, kind = _HEADER.unpack_from(self._buffer, position)
                if not 1 <= length <= MAX_FRAME:
                    raise FrameError(f"a frame of {length} bytes; 1 to {MAX_FRAME} are allowed")
                if kind not in (0, 1, 2, 3):
                    raise FrameError(f"unknown frame type {kind}")
                end = position + 4 + length
                if len(self._buffer) < end:
                    return
                payload = bytes(memoryview(self._buffer)[position + _HEADER.size : end])
                position = end
                yield Kind(kind), payload
        finally:
            del self._buffer[:position]


def parse(payload: bytes) -> Message:
    """A control frame of the launcher, checked field by field."""
    if len(payload) > MAX_CONTROL:
        raise FrameError(f"a control frame of {len(payload)} bytes; at most {MAX_CONTROL} are allowed")
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise FrameError("a control frame that is not JSON") from error
    if not isinstance(message, dict):
        raise FrameError("a control frame that is not a JSON object")
    match message.get("type"):
        case "hello":
            return Hello(_number(message, "pid"), _running(message.get("running")))
        case "started":
            return Started(_number(message, "id"), _number(message, "pid"))
        case "exited":
            code, number = _optional_number(message, "exitCode"), _optional_number(message, "signal")
            return Exited(_number(message, "id"), code, number, _text(message, "error", 1000))
        case "usage":
            return Usage(_number(message, "memoryBytes"))
        case other:
            raise FrameError(f"unknown control message {str(other)[:40]!r}")


def _running(value: object) -> RunningRun | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise FrameError("hello.running is not an object")
    return RunningRun(_number(value, "id"), _number(value, "pid"), _text(value, "label", MAX_LABEL))


def _number(message: Mapping[str, Any], field: str) -> int:
    value = message.get(field)
    if type(value) is not int or not 0 <= value < 1 << 53:  # bool is an int, but no number here
        raise FrameError(f"{field} is not a natural number")
    return value


def _optional_number(message: Mapping[str, Any], field: str) -> int | None:
    return None if message.get(field) is None else _number(message, field)


def _text(message: Mapping[str, Any], field: str, limit: int) -> str:
    value = message.get(field, "")
    if not isinstance(value, str):
        raise FrameError(f"{field} is not a string")
    return value[:limit]
