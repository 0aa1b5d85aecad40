"""What users and browsers send to the operator's servers, and what registries and templates name."""

from __future__ import annotations

import base64
import contextlib
import json
from urllib.parse import parse_qsl, quote, urlencode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt import PyJWK, PyJWS

from sandbox_operator.apiserver import exec as exec_verb
from sandbox_operator.apiserver import frames
from sandbox_operator.apiserver import target as api_target
from sandbox_operator.model import images, preview_keys, preview_token, signatures
from sandbox_protocol import log_query, refs
from sandbox_protocol.errors import StatusError
from tests.fuzz.target import cuts, target

_NOW = 1_800_000_000


def told(error: StatusError) -> None:
    json.dumps(error.body(), ensure_ascii=False).encode()


@target
def query_of_log(data: bytes) -> None:
    """A query string. StatusError 400 only, and legible; numbers are bounded, a cursor reads back as itself."""
    query = dict(parse_qsl(data.decode("utf-8", "surrogateescape"), keep_blank_values=True, errors="surrogateescape"))
    try:
        parsed = log_query.parse(query, _NOW * 10**9)
    except StatusError as error:
        assert error.code == 400
        told(error)
        return
    assert parsed.tail is None or 0 <= parsed.tail < 10**18
    assert parsed.limit is None or 1 <= parsed.limit < 10**18
    if parsed.cursor is not None:
        assert log_query.parse_cursor(str(parsed.cursor)) == parsed.cursor
    if parsed.since_ns is not None and 0 <= parsed.since_ns < 253402300800 * 10**9:
        assert log_query.parse_time(log_query.format_time(parsed.since_ns)) == parsed.since_ns


@target
def query_of_exec(data: bytes) -> None:
    """A raw query string. StatusError 400 only, and legible; written anew it means the same: our words, then the caller's, no
    NUL, and no container but the app's."""
    raw = data.decode("latin-1")
    try:
        asked = exec_verb.parse(raw)
    except StatusError as error:
        assert error.code == 400
        told(error)
        return
    sent = urlencode(asked.query(), errors="surrogateescape")
    assert sent.isascii()
    assert not set(sent) & set(" #\r\n\0")
    got = parse_qsl(sent, keep_blank_values=True, errors="surrogateescape")
    assert got == asked.query()
    assert [value for name, value in got if name == "container"] == ["app"]
    command = tuple(value for name, value in got if name == "command")
    assert command == (*exec_verb.ENTER, *asked.command)
    assert not any("\0" in word for word in command)


@target
def api_path(data: bytes) -> None:
    """StatusError 404 only, and legible; what is accepted pastes into a path without meaning anything else there."""
    raw = data.decode("latin-1")
    for path in (raw, f"{api_target.PREFIX}/{raw}", f"{api_target.PREFIX}/namespaces/{raw}"):
        try:
            found = api_target.parse(path)
        except StatusError as error:
            assert error.code == 404
            told(error)
            continue
        for name in (found.namespace, found.name, found.verb):
            assert quote(name, safe="") == name
            assert name not in ("", ".", "..")
        assert not found.rest or found.rest.startswith("/")


@target
def preview_host(data: bytes) -> None:
    """ValueError only; a host that is accepted is the one its runner and port have."""
    text = data.decode("latin-1")
    for host in (text, f"{text}.preview.test"):
        try:
            found, port = refs.from_public_host(host, "preview.test")
        except ValueError:
            continue
        assert found.public_host(port, "preview.test") == host.lower().partition(":")[0]


_PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


_KEY = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": _b64(_PRIVATE.public_key().public_bytes_raw()),
    "d": _b64(bytes(range(32))),
    "kid": "fuzz",
    "alg": "EdDSA",
    "use": "sig",
    "iat": _NOW,
}
_RING: preview_keys.Ring = {"keys": [_KEY]}
_UID = "0f0e0d0c-0b0a-4908-8706-050403020100"
_HOST = refs.Refs(_UID).public_host(3000, "preview.test")


@target
def preview_token_bytes(data: bytes) -> None:
    """TokenError only for a token, which nobody signed."""
    for text in (data.decode("latin-1"), data.decode("utf-8", "surrogateescape")):
        try:
            preview_token.verify(preview_keys.public(_RING), text, _HOST, _NOW)
        except preview_token.TokenError as error:
            str(error).encode()
        else:
            raise AssertionError("a token that nobody signed")


@target
def preview_token_claims(data: bytes) -> None:
    """A payload signed with the right key, as if the signer had been made to. TokenError only; what is accepted is for this host,
    not expired, of the types that it says."""
    key = PyJWK(_KEY, algorithm="EdDSA").key
    token = PyJWS().encode(data, key, algorithm="EdDSA", headers={"kid": "fuzz"})
    try:
        claims = preview_token.verify(_RING, token, _HOST, _NOW)
    except preview_token.TokenError as error:
        str(error).encode()
        return
    assert claims.host == _HOST
    assert (claims.uid, claims.port) == (_UID, 3000)
    assert claims.expires > _NOW
    assert all(isinstance(group, str) for group in claims.groups)


@target
def image(data: bytes) -> None:
    """ImageError only; an accepted name has one canonical form, of plain characters, that is read as itself, and of a
    repository's own pattern and the one below it, it matches the first alone."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        pattern = images.parse_pattern(text)
    except images.ImageError as error:
        str(error).encode("utf-8")
    else:
        assert "*" not in pattern.registry + pattern.repository
    try:
        ref = images.parse(text)
    except images.ImageError as error:
        str(error).encode("utf-8")
        return
    again = images.parse(str(ref))
    assert str(again) == str(ref)
    assert (again.registry, again.repository, again.digest) == (ref.registry, ref.repository, ref.digest)
    assert str(ref).isascii()
    assert images.parse_pattern(ref.name).matches(ref)
    with contextlib.suppress(images.ImageError):  # too long with two more parts
        assert not images.parse_pattern(f"{ref.name}/*").matches(ref)
    assert ".." not in ref.repository.split("/")


_IMAGE = images.parse("registry.test/team/app@sha256:" + "ab" * 32)
_TRUST = signatures.Trust((signatures.SigningKey("k", _PRIVATE.public_key()),), pinned=True)


@target
def signature_payload(data: bytes) -> None:
    """Signed with a trusted key. SignatureError only; it holds only if the payload says this image and this repository."""
    try:
        signatures.verify(_IMAGE, [signatures.Signature(data, _PRIVATE.sign(data))], _TRUST)
    except signatures.SignatureError as error:
        str(error).encode()
    else:
        critical = json.loads(data.decode("utf-8", "replace"))["critical"]  # bytes of what is passed over are nobody's
        assert critical["image"]["docker-manifest-digest"] == _IMAGE.digest
    try:
        signatures.verify(_IMAGE, [signatures.Signature(data, data[:64])], _TRUST)
    except signatures.SignatureError:
        pass
    else:
        raise AssertionError("a signature that nobody made")


@target
def downloaded_signatures(data: bytes) -> None:
    """SignatureError only."""
    try:
        signatures.downloaded(data.decode("utf-8", "surrogateescape"))
    except signatures.SignatureError as error:
        str(error).encode()


@target
def websocket_frames(data: bytes) -> None:
    """No exception; where a message ends is the same in whatever pieces, and where a plain reading of RFC 6455 §5.2 says."""
    whole, pieces = frames.Boundaries(), frames.Boundaries()
    whole.feed(data)
    for piece in cuts(data):
        pieces.feed(piece)
    assert whole.between == pieces.between == _between(data)
    taken = frames.Boundaries().take_message(data)
    assert data.startswith(taken)
    one, other = frames.frame(2, data), frames.Boundaries()
    other.feed(one)
    assert other.between


def _between(data: bytes) -> bool:
    at, inside = 0, False
    while at < len(data):
        if len(data) - at < 2:
            return False
        first, size, masked = data[at], data[at + 1] & 0x7F, data[at + 1] & 0x80
        at += 2
        more = {126: 2, 127: 8}.get(size, 0)
        if more:
            size = int.from_bytes(data[at : at + more], "big")
        if len(data) - at < more + (4 if masked else 0):
            return False
        at += more + (4 if masked else 0) + size
        if not first & 8:
            inside = not first & 0x80
    return at == len(data) and not inside
