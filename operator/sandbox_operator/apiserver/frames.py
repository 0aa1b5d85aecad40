"""WebSocket frames (RFC 6455 §5), as far as a splice needs them: where a message ends, and how to say a last word. Pure.

A tunnel passes bytes, and a connection that we end in the middle of a frame tells its caller nothing. Between two messages we may
speak ourselves.
"""

from __future__ import annotations

import msgspec

from sandbox_protocol.errors import StatusError

_FIN = 0x80
_CONTROL = 0x08
_BINARY, _CLOSE = 0x02, 0x08
# The longest header: two bytes, eight of length, four of mask.
_MAX_HEADER = 14
_NORMAL_CLOSURE = 1000
# Channel of pods/exec on which one metav1.Status ends the session (remotecommand.StreamErr).
ERROR_CHANNEL = 3


class Boundaries:
    """Follows one direction of a connection from its first frame on."""

    def __init__(self) -> None:
        self._header = b""
        self._payload = 0
        self._inside_message = False

    @property
    def between(self) -> bool:
        """Whether a frame of ours would be understood here."""
        return not self._header and not self._payload and not self._inside_message

    def feed(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            at = self._step(data, at)

    def take_message(self, data: bytes) -> bytes:
        """What of ``data`` belongs to the message that has begun."""
        at = 0
        while at < len(data) and not self.between:
            at = self._step(data, at)
        return data[:at]

    def _step(self, data: bytes, at: int) -> int:
        if self._payload:
            taken = min(self._payload, len(data) - at)
            self._payload -= taken
            return at + taken
        before = len(self._header)
        self._header += data[at : at + _MAX_HEADER - before]
        length = _header_length(self._header)
        if length is None or len(self._header) < length:
            return len(data)
        self._begin(self._header[:length])
        return at + length - before

    def _begin(self, header: bytes) -> None:
        first, size = header[0], header[1] & 0x7F
        if size >= 126:
            size = int.from_bytes(header[2 : 4 if size == 126 else 10])
        self._header, self._payload = b"", size
        if not first & _CONTROL:
            self._inside_message = not first & _FIN


def _header_length(header: bytes) -> int | None:
    if len(header) < 2:
        return None
    size = header[1] & 0x7F
    return 2 + {126: 2, 127: 8}.get(size, 0) + (4 if header[1] & 0x80 else 0)


def frame(opcode: int, payload: bytes) -> bytes:
    """A whole message from a server: one frame, not masked."""
    size = len(payload)
    if size < 126:
        head = bytes([_FIN | opcode, size])
    elif size < 1 << 16:
        head = bytes([_FIN | opcode, 126]) + size.to_bytes(2)
    else:
        head = bytes([_FIN | opcode, 127]) + size.to_bytes(8)
    return head + payload


def farewell(error: StatusError) -> bytes:
    """The last message of a pods/exec session and its close; 1000, because client-go drops the Status of any other code."""
    status = bytes([ERROR_CHANNEL]) + msgspec.json.encode(error.body())
    return frame(_BINARY, status) + frame(_CLOSE, _NORMAL_CLOSURE.to_bytes(2))
