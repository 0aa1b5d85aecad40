"""Who asks: the user named in the aggregator's headers, believed only with the aggregator's client certificate.

The request-header protocol of Kubernetes: the API server authenticates the user, then connects with a client certificate of the
request-header CA and names the user in headers. CA, allowed common names and header names come from the ConfigMap
``kube-system/extension-apiserver-authentication``, which changes when certificates rotate. Pure: parsing and deciding only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import msgspec
from multidict import CIMultiDictProxy

from sandbox_operator.kube.reviews import User
from sandbox_protocol.errors import StatusError

__all__ = ["CONFIG_MAP", "NAMESPACE", "RequestHeaderConfig", "User", "authenticate", "common_name", "config_from"]

NAMESPACE, CONFIG_MAP = "kube-system", "extension-apiserver-authentication"


@dataclass(frozen=True, slots=True)
class RequestHeaderConfig:
    """``allowed_names`` empty means any name that the CA has signed, as the API server defines it."""

    client_ca: str
    allowed_names: frozenset[str]
    user_headers: tuple[str, ...]
    group_headers: tuple[str, ...]
    uid_headers: tuple[str, ...]
    extra_prefixes: tuple[str, ...]


def config_from(config_map: Mapping[str, Any]) -> RequestHeaderConfig:
    """Raises ValueError when the ConfigMap lacks a part without which nobody can be believed."""
    data = config_map.get("data") or {}
    ca = data.get("requestheader-client-ca-file") or ""
    if "BEGIN CERTIFICATE" not in ca:
        raise ValueError(f"{CONFIG_MAP} has no requestheader-client-ca-file: the API server runs without an aggregation layer")
    users = _names(data, "requestheader-username-headers")
    if not users:
        raise ValueError(f"{CONFIG_MAP} has no requestheader-username-headers")
    return RequestHeaderConfig(
        client_ca=ca,
        allowed_names=frozenset(_names(data, "requestheader-allowed-names")),
        user_headers=users,
        group_headers=_names(data, "requestheader-group-headers"),
        # since Kubernetes 1.32; before, no UID was sent
        uid_headers=_names(data, "requestheader-uid-headers"),
        extra_prefixes=tuple(prefix.lower() for prefix in _names(data, "requestheader-extra-headers-prefix")),
    )


def _names(data: Mapping[str, Any], key: str) -> tuple[str, ...]:
    try:
        return tuple(msgspec.json.decode(data.get(key) or "[]", type=list[str]))
    except msgspec.DecodeError as error:
        raise ValueError(f"{CONFIG_MAP}: {key} is not a JSON list of strings") from error


def common_name(peer_certificate: Mapping[str, Any] | None) -> str | None:
    """Of a certificate that the TLS layer has verified (``getpeercert()`` gives an empty one otherwise)."""
    for rdn in (peer_certificate or {}).get("subject", ()):
        for key, value in rdn:
            if key == "commonName":
                return str(value)
    return None


def authenticate(
    config: RequestHeaderConfig | None, peer_certificate: Mapping[str, Any] | None, headers: CIMultiDictProxy[str]
) -> User:
    """The user who asks. StatusError 401 unless certificate, its name and the user header are all as they must be."""
    name = common_name(peer_certificate)
    if config is None or name is None or (config.allowed_names and name not in config.allowed_names):
        raise StatusError(401, "only the Kubernetes API server may call this server: send the request to the Kubernetes API")
    user = next((value for header in config.user_headers if (value := headers.get(header))), "")
    if not user:
        raise StatusError(401, "the request names no user")
    # the API server sets each once, after it has taken away what the caller sent
    if any(len(headers.getall(header, ())) > 1 for header in (*config.user_headers, *config.uid_headers)):
        raise StatusError(401, "the request names more than one user")
    found = User(
        name=user,
        groups=tuple(value for header in config.group_headers for value in headers.getall(header, ())),
        uid=next((value for header in config.uid_headers if (value := headers.get(header))), ""),
        extra=_extra(config.extra_prefixes, headers),
    )
    extra = (text for key, values in found.extra for text in (key, *values))
    try:
        # a lone surrogate stands for a byte that is no UTF-8: nobody could be asked about such a user in JSON
        "".join((found.name, found.uid, *found.groups, *extra)).encode()
    except UnicodeEncodeError as error:
        raise StatusError(401, "the headers that name the user are not UTF-8") from error
    return found


def _extra(prefixes: tuple[str, ...], headers: CIMultiDictProxy[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: dict[str, list[str]] = {}
    for header, value in headers.items():
        lower = header.lower()
        for prefix in prefixes:
            if lower.startswith(prefix):
                # keys are percent-encoded by the aggregator: header names cannot carry '/', and ignore case
                found.setdefault(unquote(lower[len(prefix) :]), []).append(value)
    return tuple((key, tuple(values)) for key, values in sorted(found.items()))
