"""Against a real registry on loopback, with TLS: what is asked for, and how little its answers can do."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from sandbox_operator.controller import certificates, registry
from sandbox_operator.controller.registry import Registry, RegistryUnavailable
from sandbox_operator.model.images import ImageRef
from sandbox_operator.model.signatures import PAYLOAD_BYTES, SIGNATURES, Signature, SignatureError, tag
from tests.harness.signing import payload, sign

DIGEST = f"sha256:{'a' * 64}"
KEY = ec.generate_private_key(ec.SECP256R1())


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class FakeRegistry:
    """Answers what is put in ``answers`` by path, and notes every request."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[web.Request] = []
        self.port = 0

    @property
    def image(self) -> ImageRef:
        return ImageRef(f"localhost:{self.port}", "team/app", digest=DIGEST)

    def push(self, *signatures: Signature, **layer: Any) -> None:
        layers = []
        for entry in signatures:
            self.answers[f"/v2/team/app/blobs/{digest(entry.payload)}"] = entry.payload
            layers.append(
                {
                    "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                    "digest": digest(entry.payload),
                    "size": len(entry.payload),
                    "annotations": {"dev.cosignproject.cosign/signature": base64.b64encode(entry.signature).decode()},
                    **layer,
                }
            )
        self.manifest(json.dumps({"schemaVersion": 2, "layers": layers}).encode())

    def manifest(self, answer: Any) -> None:
        self.answers[f"/v2/team/app/manifests/{tag(DIGEST)}"] = answer

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        answer = self.answers.get(request.path, web.Response(status=404))
        if callable(answer):
            answer = await answer(request)
        return web.Response(body=answer) if isinstance(answer, bytes) else answer


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[FakeRegistry, Registry]]:
    serving = certificates.renewed(["localhost"], b"", datetime.now(UTC))
    (tmp_path / "crt").write_bytes(serving.certificate)
    (tmp_path / "key").write_bytes(serving.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    fake = FakeRegistry()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", fake.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "localhost", 0, ssl_context=server)
    await site.start()
    fake.port = runner.addresses[0][1]
    async with Registry(ssl.create_default_context(cadata=serving.authorities.decode())) as made:
        yield fake, made
    await runner.cleanup()


def good(text: str = "app") -> Signature:
    content = payload(f"registry.test/{text}", DIGEST)
    return Signature(content, sign(KEY, content))


async def test_signatures_are_found_under_cosigns_tag(served: tuple[FakeRegistry, Registry]) -> None:
    fake, asking = served
    fake.push(good("a"), good("b"))
    found = await asking.signatures(fake.image)
    assert [entry.payload for entry in found] == [good("a").payload, good("b").payload]
    assert fake.asked[0].path == f"/v2/team/app/manifests/sha256-{'a' * 64}.sig"


async def test_an_image_without_signatures_has_none(served: tuple[FakeRegistry, Registry]) -> None:
    fake, asking = served
    assert await asking.signatures(fake.image) == []
    fake.push(good(), mediaType="application/octet-stream")
    assert await asking.signatures(fake.image) == []


async def test_no_credential_and_no_cookie_is_sent(
    served: tuple[FakeRegistry, Registry], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    fake, asking = served

    async def with_cookie(request: web.Request) -> web.Response:
        answer = web.Response(status=404)
        answer.set_cookie("session", "x")
        return answer

    fake.manifest(with_cookie)
    await asking.signatures(fake.image)
    await asking.signatures(fake.image)
    sent = {name.lower() for request in fake.asked for name in request.headers}
    assert sent == {"host", "accept", "accept-encoding", "user-agent"}
    assert {request.method for request in fake.asked} == {"GET"}


def moved(status: int, where: str) -> Any:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": where})

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["http://169.254.169.254/latest/", "/v2/other", "https://10.96.0.1/api"])
async def test_no_redirect_is_followed(served: tuple[FakeRegistry, Registry], status: int, where: str) -> None:
    fake, asking = served
    fake.manifest(moved(status, where))
    with pytest.raises(SignatureError, match="sends the operator elsewhere, where it does not go"):
        await asking.signatures(fake.image)
    assert len(fake.asked) == 1


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, SignatureError, "wants a login, and the operator has none: give the signature offline"),
        (403, SignatureError, "wants a login"),
        (418, SignatureError, "answers 418"),
        (429, RegistryUnavailable, "answers 429"),
        (503, RegistryUnavailable, "answers 503"),
    ],
)
async def test_what_the_registry_refuses_is_told(
    served: tuple[FakeRegistry, Registry], status: int, error: type[Exception], words: str
) -> None:
    fake, asking = served
    fake.manifest(web.Response(status=status, headers={"WWW-Authenticate": 'Bearer realm="http://169.254.169.254/"'}))
    with pytest.raises(error, match=words):
        await asking.signatures(fake.image)
    assert len(fake.asked) == 1


@pytest.mark.parametrize("answer", [b"", b"[]", b"\xff", b'{"layers":3}', b'{"layers":[{"annotations":[]}]}', b"[" * 5000])
async def test_what_is_no_manifest_is_refused(served: tuple[FakeRegistry, Registry], answer: bytes) -> None:
    fake, asking = served
    fake.manifest(answer)
    with pytest.raises(SignatureError, match="answers no manifest"):
        await asking.signatures(fake.image)


async def test_an_endless_manifest_is_cut(served: tuple[FakeRegistry, Registry]) -> None:
    fake, asking = served
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        answer = web.StreamResponse()
        await answer.prepare(request)
        while request.transport is not None:
            await answer.write(b" " * 65536)
            sent += 65536
            await asyncio.sleep(0)  # a write that the closed connection swallows does not yield
        return answer

    fake.manifest(endless)
    with pytest.raises(SignatureError, match="more than 1048576 bytes"):
        await asking.signatures(fake.image)
    assert sent < 32 * 1024 * 1024


async def test_a_payload_is_not_fetched_when_it_says_that_it_is_huge(served: tuple[FakeRegistry, Registry]) -> None:
    fake, asking = served
    fake.push(good(), size=PAYLOAD_BYTES + 1)
    with pytest.raises(SignatureError, match=f"the most is {PAYLOAD_BYTES}"):
        await asking.signatures(fake.image)
    assert len(fake.asked) == 1


async def test_a_payload_that_is_huge_without_saying_so_is_cut(served: tuple[FakeRegistry, Registry]) -> None:
    fake, asking = served
    fake.push(Signature(b"x" * (PAYLOAD_BYTES + 1), b""), size=5)
    with pytest.raises(SignatureError, match=f"more than {PAYLOAD_BYTES} bytes"):
        await asking.signatures(fake.image)


async def test_a_payload_swapped_behind_its_digest_is_refused(served: tuple[FakeRegistry, Registry]) -> None:
    fake, asking = served
    fake.push(good())
    fake.answers[f"/v2/team/app/blobs/{digest(good().payload)}"] = b"another"
    with pytest.raises(SignatureError, match="does not hold the payload"):
        await asking.signatures(fake.image)


@pytest.mark.parametrize("name", ["", "sha256:", "sha256:../../x", f"sha512:{'a' * 64}", f"sha256:{'A' * 64}", "../../../secret"])
async def test_a_payload_is_asked_for_by_a_digest_only(served: tuple[FakeRegistry, Registry], name: str) -> None:
    fake, asking = served
    fake.push(good(), digest=name)
    with pytest.raises(SignatureError, match="which is no sha256 digest"):
        await asking.signatures(fake.image)
    assert len(fake.asked) == 1


async def test_a_signature_that_is_no_base64_is_refused(served: tuple[FakeRegistry, Registry]) -> None:
    fake, asking = served
    fake.push(good(), annotations={"dev.cosignproject.cosign/signature": "***"})
    with pytest.raises(SignatureError, match="not base64"):
        await asking.signatures(fake.image)


async def test_a_compressed_answer_is_not_unpacked(served: tuple[FakeRegistry, Registry]) -> None:
    fake, asking = served
    fake.manifest(web.Response(body=gzip.compress(b" " * 10_000_000), headers={"Content-Encoding": "gzip"}))
    with pytest.raises(SignatureError, match="answers compressed"):
        await asking.signatures(fake.image)


async def test_a_flood_of_signatures_costs_so_many_requests(served: tuple[FakeRegistry, Registry]) -> None:
    fake, asking = served
    fake.push(*(good(str(number)) for number in range(3 * SIGNATURES)))
    assert len(await asking.signatures(fake.image)) == SIGNATURES
    assert len(fake.asked) == SIGNATURES + 1


async def test_a_registry_that_says_nothing_is_given_up(
    served: tuple[FakeRegistry, Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_SECONDS", 0.2)
    fake, asking = served

    async def silent(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    fake.manifest(silent)
    with pytest.raises(RegistryUnavailable, match="does not answer: TimeoutError"):
        await asking.signatures(fake.image)


async def test_a_registry_is_believed_only_with_a_certificate_of_its_name(served: tuple[FakeRegistry, Registry]) -> None:
    fake, _ = served
    async with Registry() as asking:
        with pytest.raises(RegistryUnavailable, match="certificate"):
            await asking.signatures(fake.image)
    assert fake.asked == []
