"""A signature counts for one image, by one of the trusted keys, as it was made; everything else is refused with its cause."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from sandbox_operator.model.images import parse
from sandbox_operator.model.signatures import (
    PAYLOAD_BYTES,
    SIGNATURES,
    Signature,
    SignatureError,
    Trust,
    downloaded,
    tag,
    trust,
    verify,
)
from sandbox_operator.model.template import SignatureBounds, SignatureKey
from tests.harness.signing import PrivateKey, download, payload, pem, sign

NAME = "registry.test/team/app"
DIGEST, OTHER = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
IMAGE = parse(f"{NAME}@{DIGEST}")
P256 = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)
STRANGER = ec.generate_private_key(ec.SECP256R1())
KEYS: dict[str, PrivateKey] = {"p256": P256, "ed25519": ED25519, "rsa": RSA}
GOOD = payload(NAME, DIGEST)


def trusted(*keys: PrivateKey, identity: str = "repository") -> Trust:
    entries = tuple(SignatureKey(name=f"key-{number}", public_key=pem(key)) for number, key in enumerate(keys or KEYS.values()))
    return trust(SignatureBounds(keys=entries, identity="any" if identity == "any" else "repository"))


def signed(content: bytes = GOOD, key: PrivateKey = P256) -> Signature:
    return Signature(content, sign(key, content))


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_signature_by_each_kind_of_key_holds(key: PrivateKey) -> None:
    assert verify(IMAGE, [signed(key=key)], trusted(key)) == "key-0"


def test_any_one_of_several_keys_and_signatures_is_enough() -> None:
    assert verify(IMAGE, [signed(key=STRANGER), signed(key=RSA)], trusted(P256, ED25519, RSA)) == "key-2"


def test_no_signature_is_none() -> None:
    with pytest.raises(SignatureError, match="there is none"):
        verify(IMAGE, [], trusted())


SWAPPED = Signature(payload(NAME, OTHER), sign(P256, GOOD))


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (lambda: signed(payload(NAME, OTHER)), f"signed another image, {OTHER}"),
        (lambda: signed(key=STRANGER), "by none of the keys key-0, key-1, key-2"),
        (lambda: SWAPPED, "by none of the keys"),
        (lambda: Signature(GOOD, signed().signature[:-1]), "by none of the keys"),
        (lambda: Signature(GOOD, b""), "by none of the keys"),
        (lambda: Signature(GOOD + b" ", signed().signature), "by none of the keys"),
        (lambda: Signature(GOOD[:-1], signed().signature), "by none of the keys"),
        (lambda: Signature(GOOD, b"x" * 100_000), "by none of the keys"),
        (lambda: signed(GOOD + b" " * PAYLOAD_BYTES), f"the most is {PAYLOAD_BYTES}"),
        (lambda: signed(payload("registry.test/team/other", DIGEST)), f"not for {NAME}"),
        (lambda: signed(payload("registry.test/team/app-evil", DIGEST)), f"not for {NAME}"),
        (lambda: signed(payload("registry.test.evil.com/team/app", DIGEST)), f"not for {NAME}"),
        (lambda: signed(payload(f"{NAME}@{OTHER}", DIGEST)), f"not for {NAME}"),
        (lambda: signed(payload("", DIGEST)), "a name that is none"),
        (lambda: signed(payload(NAME, DIGEST, type="something else")), "not a 'cosign container image signature'"),
        (lambda: signed(payload(NAME, DIGEST, image={})), "no payload of a signature"),
        (lambda: signed(payload(NAME, DIGEST, identity=None)), "no payload of a signature"),
        (lambda: signed(b"[]"), "no payload of a signature"),
        (lambda: signed(b"\xff"), "no payload of a signature"),
        (lambda: signed(b'{"critical":' * 2000), "no payload of a signature"),
    ],
)
def test_a_signature_that_does_not_say_just_this_is_refused(made: Callable[[], Signature], complaint: str) -> None:
    with pytest.raises(SignatureError) as caught:
        verify(IMAGE, [made()], trusted())
    assert complaint in str(caught.value)


def test_nothing_of_an_unsigned_payload_is_read() -> None:
    """Not even its type: what a stranger signed is refused for that alone."""
    with pytest.raises(SignatureError, match="by none of the keys"):
        verify(IMAGE, [signed(b"\xff", STRANGER)], trusted())


def test_a_signature_for_another_name_counts_where_the_template_says_any() -> None:
    copied = signed(payload("elsewhere.test/app:v1", DIGEST))
    assert verify(IMAGE, [copied], trusted(identity="any")) == "key-0"
    with pytest.raises(SignatureError, match="not for"):
        verify(IMAGE, [copied], trusted())


@pytest.mark.parametrize("reference", [NAME, f"{NAME}:v1", f"{NAME}@{DIGEST}", f"{NAME}:v1@{DIGEST}"])
def test_a_payload_may_name_its_repository_with_a_tag_or_digest(reference: str) -> None:
    assert verify(IMAGE, [signed(payload(reference, DIGEST))], trusted())


def test_a_flood_of_signatures_is_looked_at_only_so_far() -> None:
    flood = [signed(key=STRANGER)] * SIGNATURES
    with pytest.raises(SignatureError):
        verify(IMAGE, [*flood, signed()], trusted(P256))
    assert verify(IMAGE, [*flood[1:], signed()], trusted(P256))


@pytest.mark.parametrize(
    ("public", "complaint"),
    [
        ("nonsense", "is no public key in PEM form"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "on the curve secp384r1"),
        (pem(rsa.generate_private_key(65537, 1024)), "has 1024 bits"),
        (pem(dsa.generate_private_key(1024)), "want ECDSA P-256, Ed25519 or RSA"),  # type: ignore[arg-type]
    ],
)
def test_a_key_that_cannot_be_used_is_told_by_its_field(public: str, complaint: str) -> None:
    good = SignatureKey(name="good", public_key=pem(P256))
    with pytest.raises(SignatureError) as caught:
        trust(SignatureBounds(keys=(good, SignatureKey(name="bad", public_key=public))))
    assert str(caught.value).startswith("spec.bounds.signatures.keys[1].publicKey: ")
    assert complaint in str(caught.value)


@given(st.binary(max_size=300), st.binary(max_size=100))
def test_any_bytes_are_refused_as_a_signature(content: bytes, signature: bytes) -> None:
    with pytest.raises(SignatureError):
        verify(IMAGE, [Signature(content, signature)], trusted(P256, ED25519))


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_payload_with_one_byte_changed_is_refused(where: int, change: int) -> None:
    content = bytearray(GOOD)
    content[where] ^= change
    with pytest.raises(SignatureError, match="by none of the keys"):
        verify(IMAGE, [Signature(bytes(content), GIVEN.signature)], trusted(P256))


GIVEN = signed()


def test_what_cosign_prints_is_read_back() -> None:
    text = download(GOOD, b"one") + "\n" + download(b"two", b"")
    assert downloaded(text) == [Signature(GOOD, b"one"), Signature(b"two", b"")]
    assert downloaded("") == []


@pytest.mark.parametrize("line", ["{}", "[]", "x", '{"Base64Signature":"*","Payload":""}', '{"Base64Signature":1,"Payload":""}'])
def test_a_line_that_cosign_would_not_print_is_named(line: str) -> None:
    with pytest.raises(SignatureError, match="line 2 is not of the form"):
        downloaded(download(b"", b"") + line)


@given(st.text(max_size=200))
def test_any_text_is_a_list_of_signatures_or_an_error(text: str) -> None:
    try:
        downloaded(text)
    except SignatureError:
        return


def test_the_tag_is_the_one_that_cosign_uses() -> None:
    assert tag(DIGEST) == f"sha256-{'a' * 64}.sig"
