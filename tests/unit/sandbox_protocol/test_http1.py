from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_protocol.http1 import (
    HEAD_BYTES,
    Chunked,
    Head,
    ProtocolError,
    Sized,
    UntilClose,
    encode_block,
    head_end,
    parse_request,
    parse_response,
    request_body,
    response_body,
)


def request(*lines: str) -> Head:
    return parse_request("\r\n".join(["POST /x HTTP/1.1", "Host: h", *lines, "", ""]).encode("latin-1"))


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",  # white space before the colon
        b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",  # bare LF
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n",  # bare CR
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
        b"G\xc3\x89T / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ],
)
def test_a_head_that_could_be_read_two_ways_is_refused(head: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_request(head)


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 1", "Transfer-Encoding: chunked"],
        ["Content-Length: 1", "Content-Length: 1"],
        ["Content-Length: 1, 1"],
        ["Content-Length: +1"],
        ["Content-Length: 0x1"],
        ["Content-Length:"],
        ["Content-Length: -1"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: chunked, chunked"],
        ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding:"],
        ["Transfer-Encoding:", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked,"],
        ["Transfer-Encoding:", "Content-Length: 1"],
        ["Transfer-Encoding: ,", "Content-Length: 1"],
    ],
)
def test_a_body_whose_end_is_in_doubt_is_refused(lines: list[str]) -> None:
    with pytest.raises(ProtocolError):
        request_body(request(*lines))


def test_names_are_found_whatever_their_case_and_values_lose_outer_white_space() -> None:
    head = request("X-Thing: \t a b \t ", "x-THING: c")
    assert list(head.all(b"x-thing")) == [b"a b", b"c"]


def test_headers_meant_for_this_hop_only_do_not_go_on() -> None:
    head = request("Connection: keep-alive, X-Secret", "X-Secret: s", "Keep-Alive: timeout=5", "TE: trailers", "X-Other: o")
    assert head.end_to_end() == [(b"Host", b"h"), (b"X-Other", b"o")]


def test_a_client_cannot_name_framing_or_host_as_hop_by_hop() -> None:
    head = request("Connection: host, content-length", "Content-Length: 3")
    assert head.end_to_end() == [(b"Host", b"h"), (b"Content-Length", b"3")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [("", True), ("Connection: close", False), ("Connection: Keep-Alive, CLOSE", False), ("Connection: upgrade", True)],
)
def test_connections_persist_unless_told_otherwise(line: str, expected: bool) -> None:
    assert request(*([line] if line else [])).keep_alive is expected


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304), (b"GET", 100)])
def test_some_responses_have_no_body_whatever_they_announce(method: bytes, status: int) -> None:
    head = parse_response(b"HTTP/1.1 %d X\r\nContent-Length: 10\r\n\r\n" % status)
    assert response_body(head, method).done


def test_a_response_without_length_ends_with_its_connection() -> None:
    body = response_body(parse_response(b"HTTP/1.1 200\r\n\r\n"), b"GET")
    assert isinstance(body, UntilClose)
    body.eof()
    assert body.done


def test_a_body_cut_short_is_an_error() -> None:
    body = Sized(3)
    body.take(b"ab")
    with pytest.raises(ProtocolError):
        body.eof()


def test_a_head_without_end_is_refused_at_the_limit() -> None:
    assert head_end(b"x" * (HEAD_BYTES - 1)) == -1
    with pytest.raises(ProtocolError):
        head_end(b"x" * HEAD_BYTES)


CHUNKS = st.lists(st.binary(min_size=1, max_size=40), max_size=6)


def chunked(chunks: list[bytes], trailer: bytes = b"") -> bytes:
    return b"".join(b"%x;ext=1\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailer + b"\r\n"


@given(CHUNKS, st.sampled_from([b"", b"X-Sum: 1\r\n"]), st.binary(max_size=20), st.lists(st.integers(1, 9), min_size=1))
def test_the_end_of_a_chunked_body_is_found_in_any_pieces(
    chunks: list[bytes], trailer: bytes, after: bytes, cuts: list[int]
) -> None:
    whole = chunked(chunks, trailer)
    stream, body, taken, turn = whole + after, Chunked(), 0, 0
    while not body.done:
        piece = stream[taken : taken + cuts[turn % len(cuts)]]
        taken += body.take(piece)
        turn += 1
    assert taken == len(whole)


@pytest.mark.parametrize(
    "raw",
    [b"1\r\nab\r\n", b"1\nA\r\n", b"g\r\n", b"-1\r\n", b"1" * 16 + b"\r\n", b" 1\r\n", b"0\r\nbad\r\n\r\n", b"1;" + b"x" * 300],
)
def test_a_malformed_chunk_is_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        Chunked().take(raw)


@given(CHUNKS, st.lists(st.integers(1, 9), min_size=1))
def test_trailers_of_a_request_which_some_servers_take_for_headers_of_the_next_are_refused(
    chunks: list[bytes], cuts: list[int]
) -> None:
    body, whole = request_body(request("Transfer-Encoding: chunked")), chunked(chunks)
    assert body.take(whole) == len(whole)
    body, stream = request_body(request("Transfer-Encoding: chunked")), chunked(chunks, b"Cookie: planted=1\r\n")
    pieces = [stream[at : at + cuts[0]] for at in range(0, len(stream), cuts[0])]
    with pytest.raises(ProtocolError, match="trailers"):
        deque(map(body.take, pieces), 0)


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused_and_nothing_else(raw: bytes) -> None:
    try:
        head = parse_request(raw + b"\r\n\r\n")
    except ProtocolError:
        return
    # what was accepted reads the same after a round trip: the next reader sees what we saw
    assert parse_request(b"GET / HTTP/1.1" + encode_block(head.headers)).headers == head.headers
