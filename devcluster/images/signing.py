"""Signs what is built here with a key of this machine, so that the development cluster asks for signatures as others do."""

import base64
import json
import os
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

CONFIG_MAP = "image-signatures"  # where the controller looks for signatures that no registry holds


def signing_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key in `path`, made on first use and readable by its owner alone."""
    if not path.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        pem = made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
        partial.replace(path)
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is no ECDSA key: delete it, and another is made")
    return key


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """As `cosign.pub`."""
    public = key.public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def signature(key: ec.EllipticCurvePrivateKey, reference: str) -> tuple[str, str]:
    """Key and value in the ConfigMap for `repository@sha256:…`: what `cosign download signature` would print for it.

    The same key and image give the same bytes, so deploying again changes nothing.
    """
    repository, _, digest = reference.partition("@")
    critical = {
        "identity": {"docker-reference": repository},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }
    payload = json.dumps({"critical": critical, "optional": None}, separators=(",", ":")).encode()
    signed = key.sign(payload, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    line = {"Base64Signature": base64.b64encode(signed).decode(), "Payload": base64.b64encode(payload).decode()}
    return f"{digest.replace(':', '-', 1)}.sig", json.dumps(line) + "\n"
