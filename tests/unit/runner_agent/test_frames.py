import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner_agent import frames
from runner_agent.frames import Decoder, Ending, Exited, FrameError, Hello, Kind, RunningRun, Started, Usage, encode, parse

KINDS = st.sampled_from([Kind.STDOUT, Kind.STDERR, Kind.SYSTEM])


@given(st.lists(st.tuples(KINDS, st.binary(max_size=200))), st.integers(1, 50))
def test_frames_are_found_in_any_pieces(sent: list[tuple[Kind, bytes]], size: int) -> None:
    stream = b"".join(encode(kind, payload) for kind, payload in sent)
    decoder = Decoder()
    got: list[tuple[Kind, bytes]] = []
    for start in range(0, len(stream), size):
        got += decoder.feed(stream[start : start + size])
    assert got == sent


@given(st.binary(max_size=300))
def test_any_bytes_are_frames_or_an_error(raw: bytes) -> None:
    try:
        for kind, payload in Decoder().feed(raw):
            if kind is Kind.CONTROL:
                parse(payload)
            else:
                frames.output(payload)
    except FrameError:
        pass


@pytest.mark.parametrize("length", [0, frames.MAX_FRAME + 1, 2**32 - 1])
def test_a_frame_of_illegal_length_ends_the_connection(length: int) -> None:
    with pytest.raises(FrameError, match="allowed"):
        list(Decoder().feed(struct.pack(">IB", length, 1)))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"type": "hello", "pid": 1, "running": []}, Hello(1, ())),
        ({"type": "hello", "pid": 1, "running": [{"id": 7, "pid": 9, "label": "web"}]}, Hello(1, (RunningRun(7, 9, "web"),))),
        ({"type": "ending"}, Ending()),
        ({"type": "started", "id": 7, "pid": 9}, Started(7, 9)),
        ({"type": "exited", "id": 7, "exitCode": 1, "signal": None}, Exited(7, 1, None)),
        ({"type": "exited", "id": 7, "exitCode": None, "signal": 9, "outOfMemory": True}, Exited(7, None, 9, "", True)),
        ({"type": "hello", "pid": 1, "running": [], "isolation": {"landlock": 7, "kernel": []}}, Hello(1, (), {"landlock": 7})),
        ({"type": "hello", "pid": 1, "running": [], "isolation": 7}, Hello(1, ())),
        ({"type": "usage", "memoryBytes": 5}, Usage(5)),
    ],
)
def test_control_messages_are_read(message: dict[str, Any], expected: frames.Message) -> None:
    assert parse(json.dumps(message).encode()) == expected


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 10_000,
        b'{"type":"root"}',
        b'{"type":"started","id":true,"pid":1}',
        b'{"type":"started","id":-1,"pid":1}',
        b'{"type":"started","id":1e300,"pid":1}',
        b'{"type":"started","id":99999999999999999999,"pid":1}',
        b'{"type":"exited","id":1,"error":[]}',
        b'{"type":"hello","pid":1}',
        b'{"type":"hello","pid":1,"running":3}',
        b'{"type":"hello","pid":1,"running":[3]}',
        b'{"type":"hello","pid":1,"running":[' + b"{}," * 64 + b"{}]}",
        b'{"type":"usage","memoryBytes":1,"pad":"' + b"x" * frames.MAX_CONTROL + b'"}',
    ],
)
def test_a_control_message_that_makes_no_sense_ends_the_connection(payload: bytes) -> None:
    with pytest.raises(FrameError):
        parse(payload)
