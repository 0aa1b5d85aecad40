"""Signatures of images in cosign's "simple signing" form, held against the keys that a template trusts. Pure.

A signature covers a small JSON payload, and the payload names an image by its manifest's digest. So nothing of a payload is
believed, not even that it is JSON, before a trusted key has vouched for its bytes. Form: cosign's SIGNATURE_SPEC.md.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from sandbox_operator.model.images import ImageError, ImageRef, parse
from sandbox_operator.model.template import SignatureBounds

PAYLOAD_BYTES = 64 * 1024
"""Of one payload; cosign's have some 250 bytes, annotations of the signer add to that."""
SIGNATURES = 32
"""Of one image that are looked at: each costs a verification per key."""
_TYPE = "cosign container image signature"
# An RSA signature of 8192 bits has 1024 bytes.
_SIGNATURE_BYTES = 1024
_RSA_BITS = range(2048, 8193)

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


class SignatureError(ValueError):
    """A key that cannot be used, or signatures of which none holds; the message says why."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    name: str
    key: PublicKey


@dataclass(frozen=True, slots=True)
class Signature:
    """As found, nothing checked."""

    payload: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Trust:
    """Any one of ``keys`` is enough. ``pinned``: the payload names the repository too, and it must be the image's."""

    keys: tuple[SigningKey, ...]
    pinned: bool


class _Image(msgspec.Struct):
    digest: str = msgspec.field(name="docker-manifest-digest")


class _Identity(msgspec.Struct):
    reference: str = msgspec.field(name="docker-reference")


class _Critical(msgspec.Struct):
    type: str
    image: _Image
    identity: _Identity


class _Payload(msgspec.Struct):
    critical: _Critical


def trust(bounds: SignatureBounds) -> Trust:
    """Raises SignatureError with the field of the first key that cannot be used."""
    keys = []
    for number, entry in enumerate(bounds.keys):
        try:
            keys.append(SigningKey(entry.name, _usable(entry.public_key)))
        except SignatureError as error:
            raise SignatureError(f"spec.bounds.signatures.keys[{number}].publicKey: {error}") from error
    return Trust(tuple(keys), bounds.identity == "repository")


def _usable(pem: str) -> PublicKey:
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureError(f"is no public key in PEM form (-----BEGIN PUBLIC KEY-----): {error}") from error
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        if isinstance(key.curve, ec.SECP256R1):
            return key
        raise SignatureError(f"is on the curve {key.curve.name}; want P-256 (secp256r1), as cosign makes it")
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size in _RSA_BITS:
            return key
        raise SignatureError(f"has {key.key_size} bits; want RSA of {_RSA_BITS[0]} to {_RSA_BITS[-1]}")
    raise SignatureError(f"is of the kind {type(key).__name__}; want ECDSA P-256, Ed25519 or RSA")


def verify(image: ImageRef, found: Sequence[Signature], trusted: Trust) -> str:
    """Name of the key that vouches for ``image``. Raises SignatureError with what is wrong with the first signatures."""
    wrong = []
    for entry in found[:SIGNATURES]:
        try:
            return _holds(image, entry, trusted)
        except SignatureError as error:
            wrong.append(str(error))
    if not wrong:
        raise SignatureError("there is none")
    # the third of many tells nothing new
    raise SignatureError("; ".join(dict.fromkeys(wrong[:3])))


def _holds(image: ImageRef, entry: Signature, trusted: Trust) -> str:
    if len(entry.payload) > PAYLOAD_BYTES:
        raise SignatureError(f"a payload has {len(entry.payload)} bytes, the most is {PAYLOAD_BYTES}")
    signer = next((key.name for key in trusted.keys if _signed(entry, key.key)), None)
    if signer is None:
        names = ", ".join(key.name for key in trusted.keys)
        raise SignatureError(f"one was made by none of the keys {names}, or was changed")
    try:
        critical = msgspec.json.decode(entry.payload, type=_Payload).critical
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SignatureError(f"key {signer} signed something that is no payload of a signature: {error}") from error
    if critical.type != _TYPE:
        raise SignatureError(f"key {signer} signed a {critical.type[:60]!r}, not a {_TYPE!r}")
    if critical.image.digest != image.digest:
        raise SignatureError(f"key {signer} signed another image, {critical.image.digest[:80]}")
    if trusted.pinned:
        _same_repository(image, critical.identity.reference, signer)
    return signer


def _same_repository(image: ImageRef, reference: str, signer: str) -> None:
    """A signature says where its image belongs: made for one repository it does not count in another with the same bytes."""
    try:
        named = parse(reference)
    except ImageError as error:
        raise SignatureError(f"key {signer} signed for a name that is none: {error}") from error
    if named.name != image.name or named.digest not in ("", image.digest):
        raise SignatureError(f"key {signer} signed for {reference[:120]}, not for {image.name}")


def _signed(entry: Signature, key: PublicKey) -> bool:
    if len(entry.signature) > _SIGNATURE_BYTES:
        return False
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(entry.signature, entry.payload)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(entry.signature, entry.payload, ec.ECDSA(hashes.SHA256()))
        else:
            key.verify(entry.signature, entry.payload, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


class _Downloaded(msgspec.Struct):
    signature: str = msgspec.field(name="Base64Signature")
    payload: str = msgspec.field(name="Payload")


def downloaded(text: str) -> list[Signature]:
    """What ``cosign download signature`` prints: a JSON object a line. Raises SignatureError with the line."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = msgspec.json.decode(line, type=_Downloaded)
            found.append(Signature(decoded(entry.payload), decoded(entry.signature)))
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError, SignatureError) as error:
            raise SignatureError(f"line {number} is not of the form that cosign download signature prints: {error}") from error
    return found


def decoded(text: str) -> bytes:
    """Raises SignatureError unless it is base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureError(f"not base64: {error}") from error


def tag(digest: str) -> str:
    """Where cosign keeps the signatures of an image: a tag of the same repository, and our key for given ones."""
    return f"{digest.replace(':', '-', 1)}.sig"
