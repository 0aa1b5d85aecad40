"""A JSON body is bounded by its bytes, and means what a reader of JSON takes it for."""

from __future__ import annotations

import base64
import contextlib
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner_agent.sync_json import _LARGE, JsonBody
from sandbox_protocol.errors import StatusError
from sandbox_protocol.limits import SyncLimits
from tests.fuzz.targets.agent import Recorder

SIZE = 3 * 1024 * 1024
FILE = b'{"files":[{"path":"a","content":"%s"}]}'


class Forgetful(Recorder):
    """Keeps no content, as a stage that has written it."""

    def data(self, chunk: bytes | memoryview) -> None:
        pass

    def end_file(self) -> None:
        self._size = -1


def read(body: bytes, stage: Any = None, **limits: int) -> list[tuple[Any, ...]]:
    stage = stage or Recorder()
    stage.limits = SyncLimits(**limits)
    reader = JsonBody(stage, stage.limits)
    reader.feed(body)
    reader.finish()
    return list(stage.entries)


BODIES = {
    "an emoji": FILE % ("😀".encode() + b"x" * SIZE),
    "an escaped emoji": FILE % (rb"\ud83d\ude00" + b"x" * SIZE),
    "escapes only": FILE % (rb"\ud83d\ude00" * (SIZE // 12)),
    "an emoji at the end of a path": b'{"files":[{"path":"%s","content":""}]}' % (b"x" * SIZE + "😀".encode()),
    "an emoji at the end of a name": b'{"%s":1}' % (b"x" * SIZE + "😀".encode()),
    "empty objects": b'{"files":[%s{}]}' % (b"{}," * (SIZE // 3)),
    "lists in lists": b'{"files":[{"path":%s}]}' % (b"[" * SIZE),
    "lists as a field": b'{"mode":[%s[]]}' % (b"[]," * (SIZE // 3)),
    "a long number": b'{"files":[{"path":"a","mode":%s}]}' % (b"9" * SIZE),
    "names of what is refused": b'{"delete":[%s""]}' % (b'"",' * (SIZE // 3)),
}


@pytest.mark.parametrize("kind", BODIES)
def test_memory_is_bounded_by_the_bytes_whatever_their_characters_and_shape(kind: str) -> None:
    body = BODIES[kind]
    tracemalloc.start()
    try:
        with contextlib.suppress(StatusError):
            read(body, stage=Forgetful())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * SIZE


def test_what_is_refused_is_counted_too() -> None:
    with pytest.raises(StatusError, match="more than 3 entries"):
        read(b'{"delete":["","","",""]}', files=3)


def test_of_large_bodies_one_is_received_at_a_time() -> None:
    stage: Any = Recorder()
    first, second = JsonBody(stage, SyncLimits()), JsonBody(stage, SyncLimits())
    large = b" " * (_LARGE + 1)
    first.feed(large)
    first.feed(b" ")
    with pytest.raises(StatusError) as error:
        second.feed(large)
    assert (error.value.code, error.value.retry_after) == (429, 1)
    with pytest.raises(StatusError, match="not JSON"):
        first.finish()
    JsonBody(stage, SyncLimits()).feed(large)  # and is dropped
    third = JsonBody(stage, SyncLimits())
    third.feed(large)


TEXT = st.text(st.characters(codec="utf-8"), max_size=300) | st.sampled_from(
    ["\U0001f600" * 300, '\0"\\\x7fé\ud7ff\ue000', "ÿ" * 257]
)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(TEXT.filter(lambda path: not path.endswith("/")), TEXT, max_size=4), st.booleans(), st.lists(TEXT, max_size=3)
)
def test_it_means_what_json_means(files: dict[str, str], ascii_only: bool, delete: list[str]) -> None:
    listed = [{"path": path, "content": content} for path, content in files.items()]
    body = json.dumps({"files": listed, "delete": delete}, ensure_ascii=ascii_only, indent=1).encode()
    expected = [("file", path, 0o644, content.encode()) for path, content in files.items()]
    assert read(body) == [*expected, *(("delete", path) for path in delete)]


@pytest.mark.parametrize("half", [r"\ud83d", r"\ude00", r"\ude00\ud83d", r"\ud83dx\ude00", "x" + r"\u00e9" * 255 + r"\ud83d"])
def test_half_a_pair_is_refused_in_a_content_wherever_it_stands(half: str) -> None:
    with pytest.raises(StatusError, match="surrogate pair"):
        read(FILE % half.encode())


@pytest.mark.parametrize("before", [0, 1, 254, 255, 256, 511])
def test_a_pair_is_whole_wherever_it_stands(before: int) -> None:
    escapes = r"\u00e9" * before + r"\ud83d\ude00" + r"\u0022\u005c\u0000\\u0041\n"
    content = "é" * before + '😀"\\\0\\u0041\n'
    assert read(FILE % escapes.encode()) == [("file", "a", 0o644, content.encode())]


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b" ",
            b"{",
            b'{"files"',
            b'{"files":',
            b'{"files":[',
            b'{"files":[]',
            b'{"files":[{"path":"a","content":""}',
            b'{"files":[],}',
            b'{"files":[]}x',
        ),
        *(
            b'{"mode":tru}',
            b'{"mode":"a\nb"}',
            b'{"mode":"\\x"}',
            b'{"mode":"\\u12"}',
            b'{"mode":"\xff"}',
            b"\xef\xbb\xbf{}",
            b"{]",
        ),
        *(b'{"delete":["a",]}', b'{"delete":["a" "b"]}', b'{"mode" "merge"}', b'{"mode":01}', b"{mode:1}", b'{"mode":NaN}'),
    ],
)
def test_what_is_no_json_is_told_so(body: bytes) -> None:
    with pytest.raises(StatusError, match="the body is not JSON: ") as error:
        read(body)
    assert error.value.code == 400


def test_base64_is_content() -> None:
    encoded = base64.b64encode(b"\0\xff").decode()
    body = json.dumps({"files": [{"contentBase64": encoded, "path": "é", "mode": 420}], "delete": None, "kind": "x"})
    assert read(body.encode()) == [("file", "é", 0o644, b"\0\xff")]
