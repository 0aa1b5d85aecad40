"""Fixtures of the agent's tests, and the guard that nobody blocks the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from blockbuster import BlockBuster, blockbuster_ctx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sandbox_protocol.limits import SyncLimits
from tests.unit.runner_agent.harness import Harness
from tests.unit.runner_agent.served import TOKEN, Agent


@pytest.fixture(autouse=True)
def no_blocking_call_in_the_loop() -> Iterator[BlockBuster]:
    with blockbuster_ctx("runner_agent") as guard:
        yield guard


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Harness]:
    def make(**options: Any) -> Harness:
        limits = {key: options.pop(key) for key in list(options) if key in SyncLimits.__slots__}
        return Harness(tmp_path / "data", limits=SyncLimits(**limits), **options)

    return make


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[bytes, bytes]]:
    """``certificates(name)``: a self-signed pair for that DNS name, made once."""
    made: dict[str, tuple[bytes, bytes]] = {}

    def pair(name: str) -> tuple[bytes, bytes]:
        if name not in made:
            made[name] = _self_signed(name)
        return made[name]

    return pair


def _self_signed(name: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        subject, subject, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1)
    )
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), private


@pytest.fixture
def control(tmp_path: Path, certificates: Callable[[str], tuple[bytes, bytes]]) -> Path:
    """The mounted control Secret: the token ``correct-horse`` and a certificate for ``control.test``."""
    folder = tmp_path / "control"
    folder.mkdir()
    cert, key = certificates("control.test")
    (folder / "tls.crt").write_bytes(cert)
    (folder / "tls.key").write_bytes(key)
    (folder / "token").write_text("correct-horse\n")
    return folder


@pytest.fixture
def workspace(make: Callable[..., Harness]) -> Harness:
    return make()


@pytest.fixture
def limits() -> SyncLimits:
    return SyncLimits()


@pytest.fixture
async def agent(tmp_path: Path, control: Path, limits: SyncLimits) -> AsyncIterator[Agent]:
    agent = await asyncio.to_thread(Agent, tmp_path / "data", control, limits)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    test_server = TestServer(agent.app())
    # as in main: bodies are decompressed by the sync alone
    await test_server.start_server(auto_decompress=False)
    async with TestClient(test_server, headers=headers, auto_decompress=True) as client:
        agent.client = client
        yield agent
    await agent.sync.close()
