"""Frames between launcher and agent, on the agent's side: what arrives is written by untrusted code.

A frame is 4 bytes of length (big-endian, of what follows, at most 1 MiB), one byte of type, and the payload; that of output
begins with the id of its run in 4 bytes. Anything else ends the connection (:class:`FrameError`). Pure.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from sandbox_protocol import measurement

MAX_FRAME = 1 << 20
MAX_CONTROL = 1 << 14
"""Of a JSON frame from the launcher. The longest it has cause to send is ``exited`` with a reason of about 1 kB."""
MAX_LABEL = 256
MAX_RUNS = 64
"""In a ``hello``; the launcher itself refuses to run more than 16."""
MAX_RUN_ID = (1 << 32) - 1
NOTHING: Mapping[str, str] = {}
SHOWN = 64
"""Paths of one ``show``: of 4 KiB each at most, they fit in a frame several times, and the launcher is soon at its other work."""
_HEADER = struct.Struct(">IB")
_RUN_ID = struct.Struct(">I")


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
    running: tuple[RunningRun, ...]
    isolation: Mapping[str, Any] | None = None
    """What the launcher measured, its word; None from one that says nothing."""


@dataclass(frozen=True, slots=True)
class Started:
    id: int
    pid: int


@dataclass(frozen=True, slots=True)
class Exited:
    """Nothing of run ``id`` is left. Exactly one of the two is set, or neither when ``error`` says why that is not known."""

    id: int
    exit_code: int | None
    signal: int | None
    error: str = ""
    out_of_memory: bool = False
    """A process of the container was killed for its memory limit while the run lived."""


@dataclass(frozen=True, slots=True)
class Usage:
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Ending:
    """The container was told to end: what runs is being stopped, and nothing can be started."""


Message = Hello | Started | Exited | Usage | Ending


def encode(kind: Kind, payload: bytes) -> bytes:
    return _HEADER.pack(len(payload) + 1, kind) + payload


def output(payload: bytes) -> tuple[int, memoryview]:
    """(run, text) of a frame that is not control; run 0 is the launcher itself."""
    if len(payload) < _RUN_ID.size:
        raise FrameError("output that belongs to no run")
    return _RUN_ID.unpack_from(payload)[0], memoryview(payload)[_RUN_ID.size :]


def start(  # noqa: PLR0913, PLR0917 - each one is a word of the message
    run_id: int, command: Sequence[str], cwd: str, env: Mapping[str, str], label: str, defaults: Mapping[str, str] = NOTHING
) -> bytes:
    """``defaults`` are variables for what neither ``env`` nor the container's environment sets."""
    message = {"type": "start", "id": run_id, "command": list(command), "cwd": cwd, "env": dict(env), "label": label}
    return _control({**message, "defaults": dict(defaults)} if defaults else message)


def stop(run_id: int, grace: float) -> bytes:
    """Ends run ``run_id``: SIGTERM to all of it, SIGKILL after ``grace`` seconds. Always answered by ``exited``."""
    return _control({"type": "stop", "id": run_id, "gracePeriodSeconds": grace})


def usage() -> bytes:
    return _control({"type": "usage"})


def show(root: str, paths: Sequence[str]) -> bytes:
    """These files below ``root``, changed from another container, for the watchers in the launcher's."""
    return _control({"type": "show", "root": root, "paths": list(paths)})


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
            return Hello(_number(message, "pid"), _running(message.get("running")), measurement.checked(message.get("isolation")))
        case "started":
            return Started(_number(message, "id"), _number(message, "pid"))
        case "exited":
            code, number = _optional_number(message, "exitCode"), _optional_number(message, "signal")
            why, starved = _text(message, "error", 1000), message.get("outOfMemory") is True
            return Exited(_number(message, "id"), code, number, why, starved)
        case "usage":
            return Usage(_number(message, "memoryBytes"))
        case "ending":
            return Ending()
        case other:
            raise FrameError(f"unknown control message {str(other)[:40]!r}")


def _running(value: object) -> tuple[RunningRun, ...]:
    if not isinstance(value, list) or len(value) > MAX_RUNS:
        raise FrameError(f"hello.running is not a list of at most {MAX_RUNS} runs")
    return tuple(_run(item) for item in value)


def _run(value: object) -> RunningRun:
    if not isinstance(value, dict):
        raise FrameError("hello.running holds what is not an object")
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
