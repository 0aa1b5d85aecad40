"""The Secret ``control``: the token and the TLS key by which the operator and a runner's agent know each other.

Made by the controller before the pod, so it is never empty. The certificate is self-signed and pinned: whoever may read the
Secret trusts exactly this key, no authority stands between. Pure but for the random numbers.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sandbox_protocol import names
from sandbox_protocol.refs import Refs

Object = dict[str, Any]

VALID = timedelta(days=365)
# Renewed with a third of its life left, so that a controller that was off for months is still in time.
RENEW_BEFORE = timedelta(days=120)
# Clocks of nodes differ; a certificate that is not valid yet is as useless as one that has expired.
_BACKDATED = timedelta(minutes=10)
_TOKEN_BYTES = 32
_PREVIOUS = {names.SECRET_TOKEN: names.SECRET_PREVIOUS_TOKEN, names.SECRET_TLS_CERT: names.SECRET_PREVIOUS_CERT}


def body(refs: Refs, data: Mapping[str, str]) -> Object:
    """The object to apply; ``data`` as in the API, base64."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": names.CONTROL_SECRET, "namespace": refs.namespace},
        "type": "Opaque",
        "data": dict(data),
    }


def fresh(refs: Refs, now: datetime, before: Mapping[str, str] | None = None) -> dict[str, str]:
    """A new token and a new certificate for ``refs.control_host``; what it replaces in ``before`` stays known until `settled`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sandbox-agent")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(refs.control_host)]), critical=False)
        # an authority for itself alone, so that it can be the one trusted root
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    values = {
        names.SECRET_TOKEN: secrets.token_urlsafe(_TOKEN_BYTES).encode(),
        names.SECRET_TLS_CERT: certificate.public_bytes(serialization.Encoding.PEM),
        names.SECRET_TLS_KEY: private,
    }
    made = {name: base64.b64encode(value).decode() for name, value in values.items()}
    return made if before is None else {**made, **{new: before[old] for old, new in _PREVIOUS.items() if old in before}}


def settled(data: Mapping[str, str]) -> dict[str, str]:
    """``data`` without what a rotation replaced."""
    return {name: value for name, value in data.items() if name not in _PREVIOUS.values()}


def is_settled(data: Mapping[str, str]) -> bool:
    return not data.keys() & set(_PREVIOUS.values())


def is_usable(data: Mapping[str, str], refs: Refs, now: datetime) -> bool:
    """Whether ``data`` is whole, belongs together, is for this runner, and need not be renewed yet."""
    try:
        token = base64.b64decode(data[names.SECRET_TOKEN], validate=True)
        certificate = x509.load_pem_x509_certificate(base64.b64decode(data[names.SECRET_TLS_CERT], validate=True))
        key = serialization.load_pem_private_key(base64.b64decode(data[names.SECRET_TLS_KEY], validate=True), None)
        host = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    except (KeyError, ValueError, TypeError, binascii.Error, x509.ExtensionNotFound):
        return False
    return (
        len(token) >= _TOKEN_BYTES
        and host == [refs.control_host]
        and certificate.public_key() == key.public_key()
        and certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEW_BEFORE
    )
