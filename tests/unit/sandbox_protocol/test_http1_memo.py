"""What the proxy remembers of heads must change nothing but the time it takes."""

import asyncio

import pytest

from sandbox_protocol.http1 import Head, ProtocolError, parse_request
from sandbox_protocol.http1_memo import CHUNKED, UNTIL_CLOSE, Memo, answer, split
from tests.unit.sandbox_protocol.scene import GET, Make, Scene, answer_once, echo_length, read_head


async def ok(scene: Scene, sent: bytes = GET) -> None:
    """One request whose header block is then known."""
    reader, _ = await scene.ask(sent)
    await read_head(reader)


async def seen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with the head that arrived, as its body."""
    while True:
        head = await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(head), head))


async def test_a_known_head_is_asked_whether_it_still_holds_for_this_target(make: Make) -> None:
    scene = await make(seen)
    await ok(scene)
    reader, writer = await scene.ask()
    for target in (b"/a?x", b"/b"):
        writer.write(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % target)
        await read_head(reader)
        assert (await read_head(reader)).startswith(b"GET %s HTTP/1.1\r\n" % target)
    assert scene.asked == [b"/a?x", b"/b"]
    assert scene.proxy.quick == 2


async def test_a_known_head_that_holds_no_more_is_decided_anew(make: Make) -> None:
    scene = await make(seen)
    await ok(scene)
    scene.holds = False
    await ok(scene)
    assert scene.proxy.quick == 0
    assert scene.routed == 2


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nCookie: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n",
        b"OPTIONS /a HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_other_bytes_are_another_request(make: Make, sent: bytes) -> None:
    scene = await make(echo_length)
    await ok(scene)
    reader, _ = await scene.ask(sent)
    await read_head(reader)
    assert scene.proxy.quick == 0
    assert scene.routed == 2


@pytest.mark.parametrize(
    "sent",
    [
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\nX: y HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-Request-Id: \r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-Request-Id: a b\r\nHost: a\r\n\r\n",
    ],
)
async def test_a_known_head_excuses_no_malformed_request_line(make: Make, sent: bytes) -> None:
    scene = await make(seen)
    await ok(scene)
    reader, _ = await scene.ask(sent)
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    assert scene.proxy.quick == 0


async def test_requests_sent_ahead_behind_a_known_head_are_answered_each(make: Make) -> None:
    scene = await make(echo_length)
    await ok(scene)
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 38\r\n\r\n" + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".ljust(38)
    reader, _ = await scene.ask(GET + post + GET)
    for expected in (b"0", b"38", b"0"):
        await read_head(reader)
        assert await reader.readexactly(len(expected)) == expected
    assert scene.routed == 4


async def test_a_block_that_announces_a_body_is_never_remembered(make: Make) -> None:
    scene = await make(echo_length)
    for _ in range(2):
        reader, _writer = await scene.ask(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        await read_head(reader)
        assert await reader.readexactly(1) == b"3"
    assert scene.proxy.quick == 0
    assert len(scene.proxy.requests) == 0


async def test_a_body_sent_apart_is_framed_by_its_own_head(make: Make) -> None:
    scene = await make(echo_length)
    await ok(scene, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    reader, writer = await scene.ask(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
    await asyncio.sleep(0)
    writer.write(b"GET /")
    await read_head(reader)
    assert await reader.readexactly(1) == b"5"


@pytest.mark.parametrize("cut", [1, 5, 14, 16, 18, len(GET) - 3, len(GET) - 1])
async def test_a_known_head_in_pieces_is_read_whole(make: Make, cut: int) -> None:
    scene = await make(seen)
    await ok(scene)
    reader, writer = await scene.ask(GET[:cut])
    while len(scene.proxy.clients) < 2:  # noqa: ASYNC110 - the other side of a socket has no event
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.005)
    writer.write(GET[cut:])
    await read_head(reader)
    assert (await read_head(reader)).startswith(b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize("line", [b"Connection: close", b"Connection: Upgrade\r\nUpgrade: websocket"])
async def test_what_ends_or_changes_the_connection_is_never_remembered(make: Make, line: bytes) -> None:
    scene = await make(echo_length)
    await ok(scene, b"GET / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n" % line)
    assert len(scene.proxy.requests) == 0


async def test_a_stale_idle_connection_is_replaced_for_a_known_head_too(make: Make) -> None:
    scene = await make(answer_once)
    reader, writer = await scene.ask(GET)
    await read_head(reader)
    await reader.readexactly(2)
    writer.write(GET)
    assert b"200" in await read_head(reader)
    assert (scene.proxy.quick, scene.upstream_connections) == (1, 2)


async def test_a_known_answer_to_get_is_none_to_head(make: Make) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await read_head(reader):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + (b"" if head.startswith(b"HEAD") else b"ok"))

    scene = await make(serve)
    reader, writer = await scene.ask()
    for method, body in ((b"GET", b"ok"), (b"HEAD", b""), (b"GET", b"ok"), (b"HEAD", b"")):
        writer.write(b"%s / HTTP/1.1\r\nHost: a\r\n\r\n" % method)
        assert b"Content-Length: 2" in await read_head(reader)
        assert await reader.readexactly(len(body)) == body


async def test_more_than_a_known_answer_announced_is_never_passed_on(make: Make) -> None:
    answers = [b"ok", b"okHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for body in answers:
            await read_head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + body)

    scene = await make(serve)
    reader, writer = await scene.ask(GET)
    await read_head(reader)
    await reader.readexactly(2)
    writer.write(GET)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(1000)


async def test_each_request_has_a_name_that_its_sender_did_not_choose(make: Make) -> None:
    scene = await make(seen)
    scene.proxy.names_requests = True
    reader, writer = await scene.ask()
    names = set()
    for _ in range(3):
        writer.write(b"GET / HTTP/1.1\r\nX-Request-Id: mine\r\nHost: a\r\n\r\n")
        await read_head(reader)
        request_id = split(await read_head(reader))[1]
        assert request_id
        names.add(request_id)
    assert b"mine" not in names
    assert len(names) == 3
    assert scene.proxy.quick == 2


async def test_a_proxy_behind_another_passes_the_name_on(make: Make) -> None:
    scene = await make(seen)
    reader, writer = await scene.ask()
    for name in (b"a-1", b"a-2"):
        writer.write(b"GET / HTTP/1.1\r\nX-Request-Id: %s\r\nHost: a\r\n\r\n" % name)
        await read_head(reader)
        assert split(await read_head(reader)) == (b"GET / HTTP/1.1", name, b"\r\nHost: a\r\n\r\n")
    assert scene.proxy.quick == 1


def test_the_oldest_is_forgotten_first() -> None:
    memo: Memo[int, str] = Memo(2)
    for number in (1, 2, 3):
        memo.put(number, str(number))
    assert (memo.get(1), memo.get(2), memo.get(3), len(memo)) == (None, "2", "3", 2)
    memo.put(2, "two")
    memo.forget(9)
    assert (memo.get(2), len(memo)) == ("two", 2)


@pytest.mark.parametrize(
    ("headers", "method", "length"),
    [
        (((b"Content-Length", b"5"),), b"GET", 5),
        (((b"Content-Length", b"5"),), b"HEAD", 0),
        (((b"Transfer-Encoding", b"chunked"),), b"GET", CHUNKED),
        ((), b"GET", UNTIL_CLOSE),
    ],
)
def test_an_answer_tells_how_its_body_ends(headers: tuple[tuple[bytes, bytes], ...], method: bytes, length: int) -> None:
    assert answer(Head(headers, status=200), method, lambda head: b"x").length == length


def test_the_name_of_a_request_stands_apart_from_what_is_remembered() -> None:
    line, name, block = split(b"GET / HTTP/1.1\r\nX-Request-Id: a-1\r\nHost: a\r\n\r\n")
    assert (line, name, block) == (b"GET / HTTP/1.1", b"a-1", b"\r\nHost: a\r\n\r\n")
    assert parse_request(line + block, name).id == b"a-1"
    assert split(GET) == (b"GET / HTTP/1.1", b"", b"\r\nHost: a\r\n\r\n")
    with pytest.raises(ProtocolError):
        split(b"GET / HTTP/1.1\r\nX-Request-Id: a\tb\r\nHost: a\r\n\r\n")
