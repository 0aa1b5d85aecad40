"""A preview on this machine without a cluster: the gateway, the agent's preview port and supervisor, the launcher, and an app.

As in a pod but for the walls: no policy, no certificate between the parts, and files are written instead of synced. The gateway
is seen at a domain of the test's choice, with TLS by an authority of its own, as tools and browsers privilege ``*.localhost``.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runner_agent.activity import Activity
from runner_agent.logs import LogBook
from runner_agent.page_reloads import PageReloads
from runner_agent.preview import Preview as AgentPreview
from runner_agent.preview import start_preview
from runner_agent.settings import AppSettings, Settings
from runner_agent.supervisor import Supervisor
from sandbox_operator.model import preview_keys, preview_token
from sandbox_operator.preview.access import Access
from sandbox_operator.preview.gateway import Gateway
from sandbox_operator.settings import Preview
from sandbox_protocol.http1_proxy import Proxy
from sandbox_protocol.http1_routing import Address
from sandbox_protocol.refs import Refs
from tests.harness import launcher

UID = "6f1c1c0e-8a3f-4f57-9d9c-0b8a52f0d3aa"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Workspace:
    revision: str | None = None


@dataclass
class Stack:
    """``origin`` is where port ``port`` of the app is seen. ``spki`` names the certificate to a browser that does not know it."""

    public: Preview
    port: int
    tree: Path
    workspace: Workspace
    supervisor: Supervisor
    ring: Any
    spki: str = ""
    syncs: int = 0

    def origin(self, port: int | None = None) -> str:
        return self.public.url_of(Refs(UID)).replace("{port}", str(port or self.port))

    def url(self, path: str = "/", *, inject: tuple[str, ...] = ("reload",), ports: Sequence[int] = ()) -> str:
        """A signed URL, as the verb ``preview`` makes it."""
        now = int(time.time())
        host = Refs(UID).public_host(self.port, self.public.base_domain)
        claims = preview_token.Claims(
            host, "alice", (), UID, "demo", "shop", self.port, "j", now, now + 600, inject=inject, ports=tuple(ports)
        )
        mark = "&" if "?" in path else "?"
        return f"{self.origin()}{path}{mark}sandbox_token={preview_token.sign(self.ring, claims)}"

    async def sync(self, files: Mapping[str, str]) -> None:
        for name, content in files.items():
            path = self.tree / name
            await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
            await asyncio.to_thread(path.write_text, content)
        self.syncs += 1
        self.workspace.revision = f"{self.syncs}-{UID[:16]}"
        await self.supervisor.on_synced(tuple(files), "auto", self.syncs == 1)

    async def ready(self, seconds: float = 30.0) -> None:
        async with asyncio.timeout(seconds):
            while not all(process.ready for process in self.supervisor.processes):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)


class _Runners:
    def get(self, namespace: str | None, name: str) -> dict[str, Any] | None:
        return {"metadata": {"uid": UID}, "spec": {}}

    def by_uid(self, uid: str) -> dict[str, Any] | None:
        return self.get(None, "") if uid == UID else None


@asynccontextmanager
async def stack(app: AppSettings, *, domain: str = "preview.localhost", scheme: str = "http") -> AsyncIterator[Stack]:
    """``app.working_dir`` and ``app.preview_url`` are filled in."""
    async with AsyncExitStack() as life:
        folder = Path(life.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        (folder / "tree").mkdir()
        (folder / ".agent").mkdir()
        public = Preview(domain, "https" if scheme == "https" else "http", free_port())
        app = replace(app, working_dir=str(folder / "tree"), preview_url=public.url_of(Refs(UID)))
        settings = Settings(data=folder, app=app, launcher_port=free_port())
        workspace, logbook = Workspace(), LogBook()
        supervisor = Supervisor(settings, workspace, logbook, _touch)
        reloads = PageReloads(supervisor, workspace, logbook)
        await supervisor.start()
        life.push_async_callback(supervisor.close)
        life.push_async_callback(reloads.close)
        agent = await start_preview(AgentPreview(settings, supervisor, logbook, Activity(), reloads), 0)
        life.push_async_callback(agent.close)
        program = await asyncio.to_thread(launcher.built)
        child = await asyncio.create_subprocess_exec(program, "launcher", f"--agent-port={settings.launcher_port}")
        life.push_async_callback(_ended, child)
        ring = preview_keys.new_ring(int(time.time()))
        made = Stack(public, app.port, folder / "tree", workspace, supervisor, ring)
        tls = None
        if scheme == "https":
            tls, made.spki = _tls(domain, folder)
        await _gateway(life, public, ring, agent.port, tls)
        yield made


async def _gateway(life: AsyncExitStack, public: Preview, ring: Any, agent: int, tls: ssl.SSLContext | None) -> None:
    async def ask(_: dict[str, Any]) -> dict[str, Any]:
        return {"status": {"allowed": True}}

    async def resolve(_: str) -> Address:
        return "127.0.0.1", agent

    known = preview_keys.public(ring)
    access = Access(_Runners(), dict, lambda: known, ask)
    proxy = Proxy(Gateway(access, public, resolve), names_requests=True)
    server = await asyncio.get_running_loop().create_server(proxy.protocol, "127.0.0.1", public.port, ssl=tls)
    life.callback(proxy.close)
    life.callback(server.close)


async def _ended(child: asyncio.subprocess.Process) -> None:
    child.terminate()
    await child.wait()


async def _touch(_: Sequence[str]) -> None:
    pass


def _tls(domain: str, folder: Path) -> tuple[ssl.SSLContext, str]:
    """A certificate for every preview below ``domain``, by an authority made for it, and its key as browsers name it."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "previews of a test")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer,
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)]),
        key.public_key(),
        x509.random_serial_number(),
        now - timedelta(minutes=5),
        now + timedelta(days=1),
    ).add_extension(x509.SubjectAlternativeName([x509.DNSName(f"*.{domain}")]), critical=False)
    certificate = builder.sign(authority, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tls.pem").write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return context, base64.b64encode(hashlib.sha256(public).digest()).decode()


def browser_flags(made: Stack) -> list[str]:
    """So that Chromium finds the domain here, and takes this certificate and no other that it does not know."""
    flags = [f"--host-resolver-rules=MAP *.{made.public.base_domain} 127.0.0.1"]
    return [*flags, f"--ignore-certificate-errors-spki-list={made.spki}"] if made.spki else flags
