"""How a request proves who it is: a TLS context, and a bearer token that may change while we run."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sandbox_client.errors import ConfigError
from sandbox_client.kubeconfig import Connection, ExecPlugin

TOKEN_FILE_SECONDS = 60.0
"""Kubernetes rotates a projected token at 80 % of its life, at the latest after a day; client-go reads it each minute."""
EXPIRY_SLACK_SECONDS = 30.0
"""A credential that ends this soon is renewed first, so that it does not end on its way."""
EXEC_SECONDS = 60.0
"""How long a plugin may take; interactive logins are out of reach of a library anyway."""


@dataclass(frozen=True, slots=True)
class Credential:
    token: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    expires: float | None = None
    """Unix seconds; None: until it is refused."""


class Credentials:
    """Tokens of one connection, cached until they must be read again. Not shared between event loops."""

    def __init__(self, connection: Connection, *, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock
        self._cached: Credential | None = None
        self._lock = asyncio.Lock()

    async def current(self) -> Credential:
        """The credential to send now. Raises ConfigError when the plugin or the file fails."""
        async with self._lock:
            if self._cached is None or (self._cached.expires is not None and self._cached.expires <= self._clock()):
                self._cached = await self._fetch()
            return self._cached

    def refuse(self) -> bool:
        """The server said 401: forget what may have been stale. True when asking again can give another answer."""
        self._cached = None
        return self._connection.exec_plugin is not None or self._connection.token_file is not None

    async def _fetch(self) -> Credential:
        connection = self._connection
        if connection.exec_plugin is not None:
            return await run_plugin(connection.exec_plugin, connection)
        if connection.token_file is not None:
            return Credential(
                token=await asyncio.to_thread(_read_token, connection.token_file),
                client_cert=connection.client_cert,
                client_key=connection.client_key,
                expires=self._clock() + TOKEN_FILE_SECONDS,
            )
        return Credential(connection.token, connection.client_cert, connection.client_key)


def tls_context(connection: Connection, credential: Credential) -> ssl.SSLContext:
    """Blocking (reads the trust store, and a short-lived file for the key: OpenSSL's loader knows no other way)."""
    try:
        context = ssl.create_default_context(cadata=connection.ca_data)
        if not connection.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if credential.client_cert and credential.client_key:
            with tempfile.TemporaryDirectory(prefix="sandbox-client-") as folder:
                pem = Path(folder) / "client.pem"
                pem.touch(mode=0o600)
                pem.write_text(f"{credential.client_cert}\n{credential.client_key}")
                context.load_cert_chain(pem)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"the certificates for {connection.server} cannot be used: {error}") from error
    return context


async def run_plugin(plugin: ExecPlugin, connection: Connection) -> Credential:
    """Runs the plugin once and reads its ExecCredential."""
    info: dict[str, Any] = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": {"interactive": False}}
    if plugin.provide_cluster_info:
        info["spec"]["cluster"] = _cluster_info(connection)
    command = str(Path(plugin.directory) / plugin.command) if "/" in plugin.command else plugin.command
    try:
        process = await asyncio.create_subprocess_exec(
            command,
            *plugin.args,
            env={**os.environ, **dict(plugin.env), "KUBERNETES_EXEC_INFO": json.dumps(info)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise ConfigError(f"cannot run the credential plugin {command!r}: {error}. {plugin.install_hint}".strip()) from error
    try:
        out, err = await asyncio.wait_for(process.communicate(), EXEC_SECONDS)
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise ConfigError(f"the credential plugin {command!r} gave no answer within {EXEC_SECONDS:.0f} s") from error
    if process.returncode:
        raise ConfigError(
            f"the credential plugin {command!r} ended with {process.returncode}: {err.decode(errors='replace')[-500:]}"
        )
    return _exec_credential(out, command)


def _cluster_info(connection: Connection) -> dict[str, Any]:
    info: dict[str, Any] = {"server": connection.server, "insecure-skip-tls-verify": not connection.verify}
    if connection.ca_data:
        info["certificate-authority-data"] = base64.b64encode(connection.ca_data.encode()).decode()
    if connection.tls_server_name:
        info["tls-server-name"] = connection.tls_server_name
    return info


def _exec_credential(out: bytes, command: str) -> Credential:
    try:
        status = json.loads(out)["status"]
        expiry = status.get("expirationTimestamp")
        return Credential(
            token=status.get("token"),
            client_cert=status.get("clientCertificateData"),
            client_key=status.get("clientKeyData"),
            expires=datetime.fromisoformat(expiry).timestamp() - EXPIRY_SLACK_SECONDS if expiry else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"the credential plugin {command!r} printed no ExecCredential: {error}") from error


def _read_token(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise ConfigError(f"cannot read the token file {path}: {error}") from error
