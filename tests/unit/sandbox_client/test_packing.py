"""A body that is compressed while it is sent."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import AsyncIterator, Mapping

import pytest
from backports import zstd

from sandbox_client import packing
from sandbox_client.changes import Changes
from sandbox_client.packing import Body, Form
from sandbox_protocol.wire import ManifestEntry


def packed(contents: Mapping[str, bytes]) -> Body:
    entries = tuple(ManifestEntry(path, "file", len(content), 0o644) for path, content in contents.items())
    return packing.pack(Changes(entries, (), 0), contents, Form())


async def sent(body: Body) -> list[bytes]:
    opened = body.open()
    assert isinstance(opened, AsyncIterator)
    return [piece async for piece in opened]


def unpacked(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(zstd.decompress(data))) as tar:
        return {item.name: content.read() for item in tar if (content := tar.extractfile(item))}


async def test_it_goes_in_pieces_and_begins_anew_for_a_second_attempt() -> None:
    files = {f"{number}.js": os.urandom(50_000).hex().encode() for number in range(20)}
    body = packed(files)
    first, second = await sent(body), await sent(body)
    assert len(first) > 3
    assert unpacked(b"".join(first)) == files
    assert b"".join(second) == b"".join(first)
    assert "Content-Length" not in body.headers
    assert body.parts is None


@pytest.mark.parametrize("noise", [50_000, 100_000])
async def test_what_was_sent_never_looks_like_a_bomb_in_between(noise: int) -> None:
    files = {"zeros": bytes(2_000_000), "noise": os.urandom(noise), "more": bytes(2_000_000)}
    pieces = await sent(packed(files))
    assert unpacked(b"".join(pieces)) == files
    decoder, came_in, came_out = zstd.ZstdDecompressor(), 0, 0
    for piece in pieces:
        came_in += len(piece)
        came_out += len(decoder.decompress(piece))
        assert came_out <= came_in * packing.SAFE_RATIO
