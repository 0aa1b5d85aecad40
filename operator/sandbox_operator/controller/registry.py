"""Asks a registry for the signatures of an image: the manifest under cosign's tag, and the payloads that it names.

Whatever answers is trusted with nothing: sizes and times are bounded, payloads are held against the digests they were asked by,
no redirect is followed (it could lead anywhere inside the cluster), and no credential is sent, because the operator has none.
Only registries of a template's allow-list are asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from yarl import URL

from sandbox_operator.errors import OperatorError
from sandbox_operator.model.images import ImageRef
from sandbox_operator.model.signatures import PAYLOAD_BYTES, SIGNATURES, Signature, SignatureError, decoded, tag

# A manifest of all the signatures that are looked at has some 30 kB, with the certificates of keyless ones ten times that.
_MANIFEST_BYTES = 1024 * 1024
_SECONDS, _CONNECT_SECONDS = 10.0, 3.0
_CONNECTIONS = 8
_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
_MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
_ANNOTATION = "dev.cosignproject.cosign/signature"


class RegistryUnavailable(OperatorError):  # noqa: N818 - nothing is wrong with the image: ask again
    pass


class _Layer(msgspec.Struct, rename="camel"):
    media_type: str = ""
    digest: str = ""
    size: int = 0
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class _Manifest(msgspec.Struct):
    layers: list[_Layer] = msgspec.field(default_factory=list)


class Registry:
    """``tls`` stands in for the system's authorities."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=tls or True),
            timeout=aiohttp.ClientTimeout(total=_SECONDS, sock_connect=_CONNECT_SECONDS),
            # a few bytes can decompress to all memory; identity is asked for, anything else refused
            auto_decompress=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "sandbox-controller"},
            # neither a proxy nor a .netrc of the environment
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def signatures(self, image: ImageRef) -> list[Signature]:
        """None of them checked; empty when the registry has no such tag. Raises SignatureError when it answers what is no answer,
        RegistryUnavailable when it does not."""
        try:
            async with asyncio.timeout(_SECONDS):
                return await self._signatures(image)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RegistryUnavailable(
                f"registry {image.registry} does not answer: {str(error) or type(error).__name__}"
            ) from error

    async def _signatures(self, image: ImageRef) -> list[Signature]:
        content = await self._content(image, f"manifests/{tag(image.digest)}", _MANIFEST_BYTES, _MANIFESTS)
        if content is None:
            return []
        try:
            manifest = msgspec.json.decode(content, type=_Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SignatureError(f"registry {image.registry} answers no manifest: {error}") from error
        layers = [layer for layer in manifest.layers if layer.media_type == _PAYLOAD and _ANNOTATION in layer.annotations]
        return [await self._signature(image, layer) for layer in layers[:SIGNATURES]]

    async def _signature(self, image: ImageRef, layer: _Layer) -> Signature:
        if layer.size > PAYLOAD_BYTES:
            raise SignatureError(f"a payload has {layer.size} bytes, the most is {PAYLOAD_BYTES}")
        algorithm, _, value = layer.digest.partition(":")
        if algorithm != "sha256" or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
            raise SignatureError(f"registry {image.registry} names a payload by {layer.digest[:80]!r}, which is no sha256 digest")
        payload = await self._content(image, f"blobs/{layer.digest}", PAYLOAD_BYTES, "*/*")
        if payload is None or hashlib.sha256(payload).hexdigest() != value:
            raise SignatureError(f"registry {image.registry} does not hold the payload {layer.digest} that it names")
        return Signature(payload, decoded(layer.annotations[_ANNOTATION]))

    async def _content(self, image: ImageRef, what: str, most: int, accept: str) -> bytes | None:
        """None for 404."""
        async with self._answer(image, what, accept) as answer:
            if answer.status == 404:
                return None
            _refuse(answer, image.registry)
            content = b""
            while not answer.content.at_eof():
                content += await answer.content.read(most + 1 - len(content))
                if len(content) > most:
                    raise SignatureError(f"registry {image.registry} answers more than {most} bytes for {what}")
        return content

    @asynccontextmanager
    async def _answer(self, image: ImageRef, what: str, accept: str) -> AsyncIterator[aiohttp.ClientResponse]:
        host, _, port = image.registry.partition(":")
        path = f"/v2/{image.repository}/{what}"
        url = URL.build(scheme="https", host=host, port=int(port) if port else None, path=path)
        async with self._session.get(url, headers={"Accept": accept}, allow_redirects=False) as answer:
            yield answer


def _refuse(answer: aiohttp.ClientResponse, registry: str) -> None:
    """Raises unless the answer is one that may be read."""
    status = answer.status
    if status == 200 and answer.headers.get("Content-Encoding", "identity") == "identity":
        return
    if status == 200:
        raise SignatureError(f"registry {registry} answers compressed, although it was asked not to")
    if 300 <= status < 400:
        raise SignatureError(
            f"registry {registry} sends the operator elsewhere, where it does not go: give the signature offline"
        )
    if status in (401, 403):
        raise SignatureError(f"registry {registry} wants a login, and the operator has none: give the signature offline")
    if status == 429 or status >= 500:
        raise RegistryUnavailable(f"registry {registry} answers {status}")
    raise SignatureError(f"registry {registry} answers {status}")
