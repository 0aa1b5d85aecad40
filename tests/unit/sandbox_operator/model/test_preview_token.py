import base64
import dataclasses

import jwt
import pytest

from sandbox_operator.model import preview_keys
from sandbox_operator.model.preview_token import LEEWAY_SECONDS, Claims, TokenError, sign, verify
from sandbox_protocol.refs import Refs

NOW = 1_800_000_000
UID = "6f1c1c0e-8a3f-4f57-9d9c-0b8a52f0d3aa"
OTHER_UID = "00000000-0000-4000-8000-000000000000"
HOST = Refs(UID).public_host(3000, "preview.localhost")
RING = preview_keys.new_ring(NOW)
PUBLIC = preview_keys.public(RING)
CLAIMS = Claims(HOST, "alice", ("team", "dev"), UID, "demo", "shop", 3000, "j1", NOW, NOW + 60)


def test_a_signed_token_is_read_back_whole() -> None:
    assert verify(PUBLIC, sign(RING, CLAIMS), HOST, NOW + 59) == dataclasses.replace(CLAIMS, kid=RING["keys"][0]["kid"])


def test_the_public_ring_cannot_sign() -> None:
    assert all("d" not in key for key in PUBLIC["keys"])
    with pytest.raises((TypeError, AttributeError, jwt.PyJWTError)):
        sign(PUBLIC, CLAIMS)


@pytest.mark.parametrize(
    ("claims", "now", "why"),
    [
        (CLAIMS, NOW + 60, "expired"),
        (CLAIMS, NOW - LEEWAY_SECONDS - 1, "future"),
        (dataclasses.replace(CLAIMS, host=Refs(UID).public_host(3001, "preview.localhost")), NOW, "another host"),
        (dataclasses.replace(CLAIMS, port=3001), NOW, "another host"),
        (dataclasses.replace(CLAIMS, uid=OTHER_UID), NOW, "another host"),
        (dataclasses.replace(CLAIMS, uid="../kube-system"), NOW, "not of a runner"),
        (dataclasses.replace(CLAIMS, user="a" * 9000), NOW, "too long"),
    ],
)
def test_a_token_for_anything_else_is_refused(claims: Claims, now: int, why: str) -> None:
    with pytest.raises(TokenError, match=why):
        verify(PUBLIC, sign(RING, claims), HOST, now)


def test_a_token_of_another_ring_is_refused() -> None:
    with pytest.raises(TokenError, match="unknown key"):
        verify(PUBLIC, sign(preview_keys.new_ring(NOW), CLAIMS), HOST, NOW)


def forged(header: dict[str, object], secret: object, algorithm: str) -> str:
    payload = jwt.decode(sign(RING, CLAIMS), options={"verify_signature": False})
    return jwt.encode(payload, secret, algorithm=algorithm, headers=header)  # type: ignore[arg-type]


def test_a_token_without_a_signature_is_refused() -> None:
    with pytest.raises(TokenError):
        verify(PUBLIC, forged({"kid": PUBLIC["keys"][0]["kid"]}, None, "none"), HOST, NOW)


def test_a_token_signed_with_the_public_key_as_a_shared_secret_is_refused() -> None:
    key = PUBLIC["keys"][0]
    with pytest.raises(TokenError):
        verify(PUBLIC, forged({"kid": key["kid"]}, key["x"], "HS256"), HOST, NOW)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_tampered_token_is_refused(part: int) -> None:
    parts = sign(RING, CLAIMS).split(".")
    raw = bytearray(base64.urlsafe_b64decode(parts[part] + "=="))
    raw[len(raw) // 2] ^= 1
    parts[part] = base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("=")
    with pytest.raises(TokenError):
        verify(PUBLIC, ".".join(parts), HOST, NOW)


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "é", "\x00", "\udc80"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(TokenError):
        verify(PUBLIC, token, HOST, NOW)


def test_rotation_signs_with_a_new_key_and_still_reads_the_old() -> None:
    old = sign(RING, dataclasses.replace(CLAIMS, issued=NOW + 90, expires=NOW + 200))
    rotated = preview_keys.rotate(RING, NOW + 100, max_age=100, overlap=50)
    assert rotated["keys"][0] != RING["keys"][0]
    assert verify(preview_keys.public(rotated), old, HOST, NOW + 120).jti == "j1"


def test_a_retired_key_is_forgotten_after_the_overlap() -> None:
    rotated = preview_keys.rotate(RING, NOW + 100, max_age=100, overlap=50)
    later = preview_keys.rotate(rotated, NOW + 151, max_age=100, overlap=50)
    assert [key["kid"] for key in later["keys"]] == [rotated["keys"][0]["kid"]]


def test_rotation_changes_nothing_before_it_is_due() -> None:
    assert preview_keys.rotate(RING, NOW + 99, max_age=100, overlap=50) == RING


def test_a_token_opens_the_ports_that_it_names_and_no_other() -> None:
    token = sign(RING, dataclasses.replace(CLAIMS, ports=(4000,), inject=("reload",)))
    api = Refs(UID).public_host(4000, "preview.localhost")
    seen = verify(preview_keys.public(RING), token, api, NOW)
    assert (seen.host, seen.port, seen.ports, seen.inject) == (api, 4000, (3000,), ("reload",))
    for host in (Refs(UID).public_host(4001, "preview.localhost"), Refs(OTHER_UID).public_host(4000, "preview.localhost")):
        with pytest.raises(TokenError, match="another host"):
            verify(preview_keys.public(RING), token, host, NOW)


@pytest.mark.parametrize("claims", [{"inject": ("x\r\nHost: y",)}, {"ports": tuple(range(2000, 2009))}])
def test_a_token_that_names_what_there_is_not_is_refused(claims: dict[str, tuple[int | str, ...]]) -> None:
    token = sign(RING, dataclasses.replace(CLAIMS, **claims))  # type: ignore[arg-type]
    with pytest.raises(TokenError, match="wrong type"):
        verify(preview_keys.public(RING), token, CLAIMS.host, NOW)
