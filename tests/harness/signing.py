"""Signs images as cosign does, with real keys."""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def pem(key: PrivateKey) -> str:
    public = key.public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def payload(reference: str, digest: str, **critical: Any) -> bytes:
    """As ``cosign generate`` prints it."""
    parts = {
        "identity": {"docker-reference": reference},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
        **critical,
    }
    return json.dumps({"critical": parts, "optional": None}, separators=(",", ":")).encode()


def sign(key: PrivateKey, content: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(content)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(content, ec.ECDSA(hashes.SHA256()))
    return key.sign(content, padding.PKCS1v15(), hashes.SHA256())


def download(content: bytes, signature: bytes) -> str:
    """A line of ``cosign download signature``."""
    encoded = {"Base64Signature": base64.b64encode(signature).decode(), "Payload": base64.b64encode(content).decode()}
    return json.dumps({**encoded, "Cert": None, "Chain": None, "Bundle": None}) + "\n"
