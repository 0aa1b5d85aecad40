"""Bodies through us without holding them: the request's towards the agent, the agent's towards the caller."""

from __future__ import annotations

import aiohttp
from aiohttp import web

from sandbox_operator.apiserver import headers, request_id
from sandbox_protocol.errors import StatusError
from sandbox_protocol.wire import JSON

# Bodies up to this size are read whole: one write instead of many, and they can be sent again when a token was rotated. Above the
# size of nearly every edit of a source file, far below what a thousand requests at once would make us hold.
WHOLE_BYTES = 128 * 1024
# Of nosniff and no-store: an agent's answer is never a page, and never to be kept by a proxy on the way.
_ANSWER_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class Finished(web.StreamResponse):
    """Tells aiohttp that everything has been said on this connection: nothing to prepare, nothing to end, no next request."""

    def __init__(self, status: int) -> None:
        super().__init__(status=status)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


async def request_body(request: web.BaseRequest) -> tuple[bytes | aiohttp.StreamReader | None, dict[str, str]]:
    """The request's body for the next hop, and the header that tells its length where it is known.

    Call it only when the request is going to be served: it says "100 Continue" to a caller that waits for it.
    """
    if not request.can_read_body:
        return None, {}
    await _continue(request)
    length = request.content_length
    if length is not None and length <= WHOLE_BYTES:
        return await request.read(), {}
    return request.content, {} if length is None else {"Content-Length": str(length)}


async def small_body(request: web.BaseRequest, limit: int) -> bytes:
    """The whole body of at most ``limit`` bytes; StatusError 413 beyond."""
    await _continue(request)
    content = b""
    async for chunk in request.content.iter_any():
        content += chunk
        if len(content) > limit:
            length = request.content_length
            sent = f"more than {limit}" if length is None else str(length)
            raise StatusError(413, f"the body has {sent} bytes; {limit} are allowed: this verb takes a few options, no files")
    return content


async def _continue(request: web.BaseRequest) -> None:
    # aiohttp does this in its router, which we do not use
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def answer(
    request: web.BaseRequest,
    upstream: aiohttp.ClientResponse,
    *,
    content_types: tuple[str, ...] = (JSON,),
    charset: str | None = None,
) -> web.StreamResponse:
    """Passes the agent's successful answer on, each chunk when it comes.

    The type is one of ``content_types``, the first unless the agent names another of them: it cannot make its answer a page.
    """
    kept = headers.only(upstream.headers, headers.AGENT_RESPONSE)
    kept.update(_ANSWER_HEADERS)
    content_type = upstream.content_type if upstream.content_type in content_types else content_types[0]
    kept["Content-Type"] = content_type if charset is None else f"{content_type}; charset={charset}"
    if upstream.status in {204, 304}:
        del kept["Content-Type"]
        return web.Response(status=upstream.status, headers=kept)
    length = upstream.content_length
    if length is not None and length <= WHOLE_BYTES:
        return web.Response(status=upstream.status, headers=kept, body=await upstream.read())
    response = web.StreamResponse(status=upstream.status, headers=kept)
    await copy(request, response, upstream.content)
    return response


async def copy(request: web.BaseRequest, response: web.StreamResponse, source: aiohttp.StreamReader) -> None:
    for name, value in request_id.headers().items():
        response.headers.setdefault(name, value)  # an app behind the proxy may have an id of its own
    await response.prepare(request)
    async for chunk in source.iter_any():
        await response.write(chunk)
