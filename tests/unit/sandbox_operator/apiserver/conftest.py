"""A runner's agent and an API server's aggregator, real TLS on loopback; only what is beyond them is played."""

import base64
import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sandbox_protocol.refs import Refs

UID = "0b0f6f0e-93a5-4d3b-8d3f-2f6c4f3a9b10"


@dataclass(frozen=True)
class Pair:
    """A certificate with its key, PEM."""

    certificate: str
    key: str
    signer: Any = field(repr=False)

    def write(self, folder: Path) -> Path:
        folder.mkdir(exist_ok=True, parents=True)
        (folder / "tls.crt").write_text(self.certificate)
        (folder / "tls.key").write_text(self.key)
        return folder

    def server(self, folder: Path) -> ssl.SSLContext:
        self.write(folder)
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        return made


def make_pair(name: str, *, host: str | None = None, issuer: Pair | None = None, authority: bool = False) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    parent = x509.load_pem_x509_certificate(issuer.certificate.encode()).subject if issuer else subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(parent)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if host is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    certificate = builder.sign(issuer.signer if issuer else key, hashes.SHA256())
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode(),
        key,
    )


class Loopback(AbstractResolver):
    """Every name is 127.0.0.1, and is remembered."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        self.asked.append(host)
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=2, proto=0, flags=0)]

    async def close(self) -> None:
        return None


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Agent:
    """An agent that knows ``token`` and answers with ``handler``; it keeps what it was asked."""

    port: int
    pair: Pair
    token: str
    handler: Handler
    asked: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)

    def secret(self) -> dict[str, Any]:
        data = {"token": self.token, "tls.crt": self.pair.certificate, "tls.key": self.pair.key}
        return {"data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}}


async def hello(request: web.Request) -> web.Response:
    return web.json_response({"kind": "SyncResult", "revision": "1-00"})


@pytest.fixture(scope="session")
def agent_pair() -> Pair:
    return make_pair("agent", host=Refs(UID).control_host)


@pytest.fixture(scope="session")
def other_pair() -> Pair:
    return make_pair("agent", host=Refs(UID).control_host)


@pytest.fixture
async def agent(agent_pair: Pair, tmp_path: Path) -> AsyncIterator[Agent]:
    made = Agent(0, agent_pair, "t" * 43, hello)

    async def handle(request: web.Request) -> web.StreamResponse:
        made.asked.append(request)
        made.connections.add(request.transport)
        if request.headers.get("Authorization") != f"Bearer {made.token}":
            return web.json_response({"kind": "Status", "code": 401, "message": "token"}, status=401)
        return await made.handler(request)

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, auto_decompress=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=agent_pair.server(tmp_path / "agent"))
    await site.start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


@pytest.fixture
def loopback() -> Loopback:
    return Loopback()


@pytest.fixture(scope="session")
def new_pair() -> Callable[..., Pair]:
    return make_pair


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made
