from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox_protocol.errors import StatusError
from sandbox_protocol.wire import JSON, TAR
from tests.unit.runner_agent.harness import Harness, archive, member


def file(**fields: Any) -> dict[str, Any]:
    return {"files": [{"path": "a", "content": "x"} | fields]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "the body"),
        ({"fils": []}, "fils"),
        ({"files": {}}, "files"),
        ({"delete": "a"}, "delete"),
        ({"delete": [1]}, "delete[0]"),
        ({"mode": "replace"}, "mode"),
        ({"restart": True}, "restart"),
        ({"files": ["a"]}, "files[0]"),
        (file(contents="x"), "files[0].contents"),
        (file(path=1), "files[0].path"),
        (file(contentBase64="eA=="), "files[0]"),
        ({"files": [{"path": "a"}]}, "files[0]"),
        (file(content=1), "files[0].content"),
        (file(content="\ud800"), "files[0].content"),
        (file(content=None, contentBase64="e"), "files[0].contentBase64"),
        (file(content=None, contentBase64="é"), "files[0].contentBase64"),
        (file(mode="0888"), "files[0].mode"),
        (file(mode=755), "files[0].mode"),
        (file(mode=-1), "files[0].mode"),
        (file(mode=True), "files[0].mode"),
    ],
)
def test_a_wrong_field_is_named(workspace: Harness, body: Any, field: str) -> None:
    with pytest.raises(StatusError) as error:
        workspace.send(json.dumps(body).encode())
    assert error.value.code == 400
    assert [c.field for c in error.value.causes] == [field]
    assert workspace.ws.revision is None
    assert workspace.staged() == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"files": NaN'])
def test_a_body_that_is_no_json_is_a_bad_request(workspace: Harness, body: bytes) -> None:
    with pytest.raises(StatusError, match="not JSON") as error:
        workspace.send(body)
    assert error.value.code == 400


@pytest.mark.parametrize(
    ("mode", "bits"), [("0755", 0o755), ("755", 0o755), ("0o600", 0o600), (493, 0o755), (None, 0o644), ("4755", 0o755), (0, 0)]
)
def test_modes_are_octal_strings_or_numbers(workspace: Harness, mode: Any, bits: int) -> None:
    workspace.send(json.dumps(file(mode=mode)).encode())
    assert (workspace.tree / "a").stat().st_mode & 0o7777 == bits


def test_binary_content_arrives_bit_for_bit(workspace: Harness) -> None:
    content = bytes(range(256)) * 50
    workspace.send(json.dumps(file(content=None, contentBase64=base64.b64encode(content).decode())).encode())
    assert (workspace.tree / "a").read_bytes() == content


@pytest.mark.parametrize(
    ("media_type", "encoding", "code"), [("text/plain", "", 415), ("", "", 415), (TAR, "br", 415), (JSON, "zstd, gzip", 415)]
)
def test_unknown_formats_are_named_as_such(workspace: Harness, media_type: str, encoding: str, code: int) -> None:
    with pytest.raises(StatusError) as error:
        workspace.send(b"x", media_type, encoding)
    assert error.value.code == code


@pytest.mark.parametrize("query", [{"prune": ["true"]}, {"mode": ["mirror", "merge"]}, {"mode": [""]}, {"restart": ["yes"]}])
def test_a_wrong_query_parameter_is_named(workspace: Harness, query: dict[str, list[str]]) -> None:
    with pytest.raises(StatusError) as error:
        workspace.send(archive(), TAR, query=query)
    assert (error.value.code, error.value.causes[0].field) == (400, next(iter(query)))


def test_a_json_sync_takes_nothing_from_the_query(workspace: Harness) -> None:
    with pytest.raises(StatusError, match="belongs in the body"):
        workspace.send(b"{}", JSON, query={"mode": ["mirror"]})


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_compressed_bodies_of_several_frames_are_read(
    workspace: Harness, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    body = archive(member("a", b"1" * 3000), member("b", b"2"))
    workspace.tar(compress(body[:1000]) + compress(body[1000:]), encoding)
    assert workspace.contents() == {"a": "1" * 3000, "b": "2"}


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
@pytest.mark.parametrize(
    "damage", [lambda body: body[:-3], lambda body: body[: len(body) // 2], lambda _: b"junk", lambda _: b""]
)
def test_a_damaged_compressed_body_changes_nothing(
    workspace: Harness, encoding: str, compress: Callable[[bytes], bytes], damage: Callable[[bytes], bytes]
) -> None:
    body = damage(compress(archive(member("a", bytes(range(256)) * 9))))
    with pytest.raises(StatusError) as error:
        workspace.tar(body, encoding)
    assert error.value.code == 400
    assert workspace.contents() == {}


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_a_bomb_is_stopped_by_its_ratio(workspace: Harness, encoding: str, compress: Callable[[bytes], bytes]) -> None:
    bomb = compress(archive(member("zeros", bytes(40_000_000))))
    with pytest.raises(StatusError) as error:
        workspace.tar(bomb, encoding)
    assert (error.value.code, error.value.causes[0].field) == (413, "ratio")
    assert workspace.staged() == []


def test_a_zstd_window_that_would_take_our_memory_is_refused(workspace: Harness) -> None:
    options: dict[int, int] = {
        zstd.CompressionParameter.window_log: 27,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    body = zstd.ZstdCompressor(options=options).compress(bytes(1000), zstd.ZstdCompressor.FLUSH_BLOCK)
    with pytest.raises(StatusError, match="level 19") as error:
        workspace.tar(body, "zstd")
    assert error.value.code == 400


@pytest.mark.parametrize(
    ("limit", "body"),
    [
        ("body_bytes", file(content="x" * 200)),
        ("json_body_bytes", file(content="x" * 200)),
        ("file_bytes", file(content="x" * 101)),
        ("total_bytes", {"files": [{"path": str(n), "content": "x" * 60} for n in range(2)]}),
        ("files", {"files": [{"path": str(n), "content": ""} for n in range(101)]}),
        ("files", {"delete": [str(n) for n in range(101)]}),
        ("tree_entries", {"files": [{"path": str(n), "content": ""} for n in range(101)]}),
    ],
)
def test_over_a_limit_the_answer_has_both_numbers(make: Callable[..., Harness], limit: str, body: Any) -> None:
    workspace = make(**{limit: 100})
    with pytest.raises(StatusError) as error:
        workspace.send(json.dumps(body).encode())
    assert (error.value.code, error.value.causes[0].field) == (413, limit)
    assert "100 are allowed" in error.value.message
    assert workspace.contents() == {}


@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_json_gets_an_answer(workspace: Harness, body: Any) -> None:
    try:
        workspace.send(json.dumps({"files": body}).encode())
    except StatusError as error:
        assert error.code in (400, 422)  # noqa: PT017
