"""Where the API server is and who we are: KUBECONFIG, ``~/.kube/config`` or the pod's own ServiceAccount.

Understands what kubectl understands of a user entry: client certificates and tokens, inline or in files, and ``exec`` plugins
(client.authentication.k8s.io/v1 and v1beta1), and whom to act as (``as`` and its companions). Paths in a file are relative to
that file. With several files in KUBECONFIG the first definition of a name wins, as with kubectl.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from sandbox_client.errors import ConfigError
from sandbox_client.impersonation import Impersonation, of_user_entry
from sandbox_protocol.dns_names import namespace_fault

IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A program that prints an ExecCredential; run without a shell."""

    command: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    api_version: str = "client.authentication.k8s.io/v1"
    provide_cluster_info: bool = False
    install_hint: str = ""
    directory: str = "."
    """Where a command with a slash in it is looked for: the folder of the kubeconfig."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One context, resolved. At most one of certificate, token, token file and exec plugin is usually set."""

    server: str
    namespace: str = "default"
    ca_data: str | None = None
    """PEM. None: the machine's own trust store."""
    verify: bool = True
    tls_server_name: str | None = None
    proxy_url: str | None = None
    client_cert: str | None = None
    """PEM, as is the key."""
    client_key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    """Read again when it is a minute old: projected ServiceAccount tokens rotate."""
    exec_plugin: ExecPlugin | None = None
    impersonation: Impersonation = field(default_factory=Impersonation)


def load(path: str | Path | None = None, *, context: str | None = None, impersonate: Impersonation | None = None) -> Connection:
    """The connection of ``context`` (default: the file's current one). What ``impersonate`` sets goes over what stands there.

    Order: ``path``, then KUBECONFIG, then ``~/.kube/config``, then the pod's ServiceAccount. Raises ConfigError.
    """
    if path is not None:
        files = [Path(path)]
    elif os.environ.get("KUBECONFIG"):
        files = [Path(item) for item in os.environ["KUBECONFIG"].split(os.pathsep) if item]
    else:
        files = [Path("~/.kube/config").expanduser()]
        if not files[0].exists() and "KUBERNETES_SERVICE_HOST" in os.environ and (IN_CLUSTER / "token").exists():
            return _acting_as(in_cluster(os.environ, IN_CLUSTER), impersonate)
    found = [item for item in files if item.exists()]
    if not found:
        raise ConfigError(f"no kubeconfig at {', '.join(map(str, files))}: set KUBECONFIG or pass one (--kubeconfig)")
    return _acting_as(resolve([(item, _parse(item)) for item in found], context=context), impersonate)


def _acting_as(connection: Connection, asked: Impersonation | None) -> Connection:
    made = replace(connection, impersonation=connection.impersonation.changed_by(asked))
    made.impersonation.headers()  # refused before anything is sent
    return made


def in_cluster(environ: Mapping[str, str], folder: Path) -> Connection:
    """The ServiceAccount mounted into this pod."""
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    return Connection(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=(folder / "namespace").read_text().strip() if (folder / "namespace").exists() else "default",
        ca_data=(folder / "ca.crt").read_text(),
        token_file=folder / "token",
    )


def resolve(files: list[tuple[Path, dict[str, Any]]], *, context: str | None = None) -> Connection:
    """Pure but for reading the certificate and key files that an entry names."""
    name = context or next((content["current-context"] for _, content in files if content.get("current-context")), None)
    if not name:
        raise ConfigError(f"{files[0][0]} has no current-context: name one (--context), or `kubectl config use-context NAME`")
    _, chosen = _entry(files, "contexts", "context", name)
    cluster_file, cluster = _entry(files, "clusters", "cluster", _named(chosen, "cluster", name))
    user_file, user = _entry(files, "users", "user", _named(chosen, "user", name))
    namespace = chosen.get("namespace") or "default"
    if fault := namespace_fault(namespace):
        raise ConfigError(f"context {name!r} names a namespace that cannot be one: {fault}")
    server = cluster.get("server")
    if not server:
        raise ConfigError(f"cluster {chosen['cluster']!r} in {cluster_file} has no server")
    for unsupported in ("auth-provider", "username"):
        if unsupported in user:
            raise ConfigError(
                f"user {chosen['user']!r} in {user_file} uses {unsupported}, which Kubernetes removed; use an exec plugin"
            )
    return Connection(
        server=str(server).rstrip("/"),
        namespace=namespace,
        ca_data=_pem(cluster, "certificate-authority", cluster_file),
        verify=not cluster.get("insecure-skip-tls-verify", False),
        tls_server_name=cluster.get("tls-server-name"),
        proxy_url=cluster.get("proxy-url"),
        client_cert=_pem(user, "client-certificate", user_file),
        client_key=_pem(user, "client-key", user_file),
        token=user.get("token"),
        token_file=user_file.parent / user["tokenFile"] if user.get("tokenFile") and not user.get("token") else None,
        exec_plugin=_exec(user["exec"], user_file) if user.get("exec") else None,
        impersonation=of_user_entry(user, user_file),
    )


def _parse(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the kubeconfig {path}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is not a kubeconfig: it holds no mapping")
    return content


def _entry(files: list[tuple[Path, dict[str, Any]]], section: str, key: str, name: str) -> tuple[Path, dict[str, Any]]:
    known: list[str] = []
    for path, content in files:
        for item in content.get(section) or ():
            if item.get("name") == name:
                return path, item.get(key) or {}
            known.append(str(item.get("name")))
    raise ConfigError(f"no {key} {name!r} in {', '.join(str(path) for path, _ in files)}; it has: {', '.join(known) or 'none'}")


def _named(context: dict[str, Any], key: str, name: str) -> str:
    if not context.get(key):
        raise ConfigError(f"context {name!r} names no {key}")
    return str(context[key])


def _pem(entry: dict[str, Any], key: str, file: Path) -> str | None:
    """``<key>-data`` (base64) wins over the path in ``<key>``, as with kubectl."""
    try:
        if data := entry.get(f"{key}-data"):
            return base64.b64decode(data, validate=True).decode("ascii")
        if path := entry.get(key):
            return (file.parent / str(path)).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError, binascii.Error) as error:
        raise ConfigError(f"cannot read {key} of {file}: {error}") from error
    return None


def _exec(config: dict[str, Any], file: Path) -> ExecPlugin:
    if not config.get("command"):
        raise ConfigError(f"a user of {file} has an exec entry without command")
    version = config.get("apiVersion", "")
    if version not in ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"):
        raise ConfigError(
            f"exec plugin {config['command']!r} in {file} speaks {version!r}; client.authentication.k8s.io/v1 is understood"
        )
    return ExecPlugin(
        command=str(config["command"]),
        args=tuple(map(str, config.get("args") or ())),
        env=tuple((str(item["name"]), str(item.get("value", ""))) for item in config.get("env") or ()),
        api_version=version,
        provide_cluster_info=bool(config.get("provideClusterInfo")),
        install_hint=str(config.get("installHint") or ""),
        directory=str(file.parent),
    )
