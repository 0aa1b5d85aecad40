import json
import os
from collections.abc import Callable

import pytest

from sandbox_operator.apiserver.frames import Boundaries, farewell, frame
from sandbox_protocol.errors import StatusError

BINARY, CONTINUATION, PING = 2, 0, 9


def masked(opcode: int, payload: bytes) -> bytes:
    plain = frame(opcode, payload)
    at = len(plain) - len(payload)
    return bytes([plain[0], plain[1] | 0x80]) + plain[2:at] + os.urandom(4) + payload


def unfinished(opcode: int, payload: bytes) -> bytes:
    whole = frame(opcode, payload)
    return bytes([whole[0] & 0x7F]) + whole[1:]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 70000])
@pytest.mark.parametrize("make", [frame, masked])
def test_the_end_of_a_frame_is_found_however_it_is_cut(size: int, make: Callable[[int, bytes], bytes]) -> None:
    message = make(BINARY, b"x" * size)
    for cut in {1, 2, 3, 5, 11, len(message) - 1, len(message)} & set(range(1, len(message) + 1)):
        boundaries = Boundaries()
        boundaries.feed(message[:cut])
        assert boundaries.between == (cut == len(message))
        boundaries.feed(message[cut:])
        assert boundaries.between


def test_single_bytes_are_followed_too() -> None:
    boundaries, ends = Boundaries(), []
    stream = frame(BINARY, b"ab") + frame(PING, b"") + frame(BINARY, b"x" * 200)
    for at, byte in enumerate(stream):
        boundaries.feed(bytes([byte]))
        if boundaries.between:
            ends.append(at + 1)
    assert ends == [4, 6, len(stream)]


def test_a_message_in_parts_ends_with_its_last_frame_even_with_a_ping_between() -> None:
    boundaries = Boundaries()
    boundaries.feed(unfinished(BINARY, b"one") + frame(PING, b"?"))
    assert not boundaries.between
    boundaries.feed(frame(CONTINUATION, b"two"))
    assert boundaries.between


def test_only_the_rest_of_the_message_is_taken() -> None:
    boundaries, message = Boundaries(), frame(BINARY, b"x" * 300)
    boundaries.feed(message[:100])
    assert boundaries.take_message(message[100:] + frame(BINARY, b"next")) == message[100:]
    assert boundaries.between


def test_the_last_word_is_a_status_on_the_error_channel_and_a_normal_close() -> None:
    words = farewell(StatusError(403, "your right is gone"))
    size = int.from_bytes(words[2:4])
    assert words[:2] == b"\x82\x7e"
    channel, status = words[4], json.loads(words[5 : 4 + size])
    assert (channel, status["status"], status["message"]) == (3, "Failure", "your right is gone")
    assert words[4 + size :] == b"\x88\x02\x03\xe8"
