"""How to reach the API server: the pod's own ServiceAccount, or a kubeconfig named by ``KUBECONFIG``.

Small on purpose: client certificates, tokens and token files. Credential plugins (``exec``, ``auth-provider``) are refused by
name; a person runs the operator out of the cluster only while developing it.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# The kubelet replaces a bound token after 80 % of its hour, so a minute's delay never shows an expired one.
TOKEN_AGE_SECONDS = 60.0


class ConfigError(Exception):
    """No usable way to an API server; the message says what to set."""


@dataclass(slots=True)
class Token:
    """A bearer token, fixed or in a file that is read again when it is older than :data:`TOKEN_AGE_SECONDS`."""

    value: str = ""
    file: Path | None = None
    _read_at: float = field(default=float("-inf"))

    def current(self) -> str:
        now = time.monotonic()
        if self.file is not None and now - self._read_at > TOKEN_AGE_SECONDS:
            self.value = self.file.read_text(encoding="ascii").strip()
            self._read_at = now
        return self.value


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """``server`` is a URL without trailing slash; ``token`` is empty when a client certificate, inside ``tls``, speaks for us."""

    server: str
    tls: ssl.SSLContext | None
    token: Token
    server_name: str | None = None


def load(environ: Mapping[str, str] = os.environ) -> ClusterConfig:
    """In-cluster when the ServiceAccount is mounted and no ``KUBECONFIG`` is set, else the kubeconfig. Raises ConfigError."""
    if environ.get("KUBECONFIG"):
        return from_kubeconfig([Path(part) for part in environ["KUBECONFIG"].split(os.pathsep) if part])
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster(environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443"))
    raise ConfigError("no cluster: run in a pod with a ServiceAccount, or set KUBECONFIG to a kubeconfig file")


def in_cluster(host: str, port: str, folder: Path = SERVICE_ACCOUNT_DIR) -> ClusterConfig:
    ca = folder / "ca.crt"
    if not ca.is_file():
        raise ConfigError(f"{ca} is missing: the pod needs automountServiceAccountToken")
    host = f"[{host}]" if ":" in host else host
    return ClusterConfig(f"https://{host}:{port}", ssl.create_default_context(cafile=str(ca)), Token(file=folder / "token"))


def from_kubeconfig(paths: list[Path], context: str | None = None) -> ClusterConfig:
    """``context``, or the current one. Of several files the first that names an entry wins, as with kubectl."""
    merged: dict[str, Any] = {}
    entries: dict[tuple[str, str], tuple[dict[str, Any], Path]] = {}
    for path in paths:
        if not path.is_file():
            continue
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        merged.setdefault("current-context", data.get("current-context"))
        for plural, singular in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
            for entry in data.get(plural) or ():
                entries.setdefault((singular, entry["name"]), (entry.get(singular) or {}, path.parent))
    chosen = context or merged.get("current-context")
    if not chosen or ("context", chosen) not in entries:
        raise ConfigError(f"no context {chosen!r} in {', '.join(map(str, paths))}: set current-context")
    link = entries["context", chosen][0]
    try:
        cluster, cluster_dir = entries["cluster", link["cluster"]]
        user, user_dir = entries["user", link["user"]]
    except KeyError as error:
        raise ConfigError(f"context {chosen!r} names {error.args[0]!r}, which the kubeconfig does not have") from error
    for plugin in ("exec", "auth-provider"):
        if plugin in user:
            raise ConfigError(f"user {link['user']!r} uses {plugin}, which is not supported: use a token or a client certificate")
    return ClusterConfig(
        str(cluster["server"]).rstrip("/"),
        _tls(cluster, cluster_dir, user, user_dir),
        Token(file=user_dir / user["tokenFile"]) if user.get("tokenFile") else Token(user.get("token") or ""),
        cluster.get("tls-server-name"),
    )


def _tls(cluster: dict[str, Any], cluster_dir: Path, user: dict[str, Any], user_dir: Path) -> ssl.SSLContext | None:
    if not str(cluster["server"]).startswith("https:"):
        return None
    ca = _pem(cluster, "certificate-authority", cluster_dir)
    tls = ssl.create_default_context(cadata=ca.decode("ascii") if ca else None)
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    cert, key = _pem(user, "client-certificate", user_dir), _pem(user, "client-key", user_dir)
    if cert and key:
        # ssl reads a key pair only from a file; a file of our own, mode 0600, gone before anybody else could look for it
        with tempfile.NamedTemporaryFile() as both:
            both.write(cert + b"\n" + key)
            both.flush()
            tls.load_cert_chain(both.name)
    return tls


def _pem(entry: dict[str, Any], key: str, folder: Path) -> bytes | None:
    if entry.get(f"{key}-data"):
        return base64.b64decode(entry[f"{key}-data"])
    if entry.get(key):
        return (folder / str(entry[key])).read_bytes()
    return None
