"""Serving certificate of the aggregated API server, and the caBundle by which it is trusted. No manual step, no CA to keep.

Each renewal makes an authority, signs one certificate with it and throws its key away. While the old certificate may still be
served the bundle holds both authorities, and it is published before the new certificate is: so there is no moment without trust.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Object = dict[str, Any]

VALID = timedelta(days=365)
RENEW_BEFORE = timedelta(days=120)
_BACKDATED = timedelta(minutes=10)

CERT, KEY, CA = "tls.crt", "tls.key", "ca.crt"


@dataclass(frozen=True, slots=True, repr=False)
class Serving:
    """PEM: certificate, its key, and the authorities to trust, newest first."""

    certificate: bytes
    key: bytes
    authorities: bytes

    @classmethod
    def from_data(cls, data: Mapping[str, str]) -> Serving | None:
        """From a Secret's data; None when a part is missing or no base64."""
        try:
            return cls(*(base64.b64decode(data[name], validate=True) for name in (CERT, KEY, CA)))
        except (KeyError, binascii.Error):
            return None

    def data(self) -> dict[str, str]:
        parts = {CERT: self.certificate, KEY: self.key, CA: self.authorities}
        return {name: base64.b64encode(value).decode() for name, value in parts.items()}


def renewed(hosts: Sequence[str], trusted_before: bytes, now: datetime) -> Serving:
    """A new certificate for ``hosts``; the newest authority of ``trusted_before`` (PEM) stays trusted beside the new one."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"sandbox-apiserver-ca@{int(now.timestamp())}")])
    authority = (
        _builder(name, name, now)
        .public_key(authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])]), name, now)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    trusted = _pem(authority)
    with contextlib.suppress(ValueError, IndexError):
        trusted += _pem(x509.load_pem_x509_certificates(trusted_before)[0])
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Serving(_pem(certificate), private, trusted)


def is_readable(serving: Serving) -> bool:
    try:
        x509.load_pem_x509_certificate(serving.certificate)
        serialization.load_pem_private_key(serving.key, None)
        return bool(x509.load_pem_x509_certificates(serving.authorities))
    except (ValueError, TypeError):
        return False


def is_usable(serving: Serving, hosts: Sequence[str], now: datetime) -> bool:
    """Whole, for exactly ``hosts``, signed by its newest authority, and not due for renewal."""
    if not is_readable(serving):
        return False
    certificate = x509.load_pem_x509_certificate(serving.certificate)
    key = serialization.load_pem_private_key(serving.key, None)
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificates(serving.authorities)[0])
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.DNSName
        )
    except Exception:
        return False
    return (
        names == list(hosts)
        and key.public_key() == certificate.public_key()
        and certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEW_BEFORE
    )


def _builder(subject: x509.Name, issuer: x509.Name, now: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + VALID)
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
