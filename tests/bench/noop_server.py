"""The bare aggregated no-op: reads a body and answers. Runs in a pod of the operator's image, on the operator's own libraries.

No authentication, no authorization, nothing behind it: what is left is the price of the API server's aggregation.
"""

import asyncio
import ssl

import uvloop
from aiohttp import web

GROUP_VERSION = "noop.bench.appstudio.dev/v1"
RESOURCES = [{"name": "noops", "singularName": "noop", "namespaced": True, "kind": "Noop", "verbs": ["create"]}]


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    body = await request.read()
    if request.method == "POST":
        return web.json_response({"kind": "Noop", "apiVersion": GROUP_VERSION, "bytes": len(body)})
    if request.path == f"/apis/{GROUP_VERSION}":
        listing = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": RESOURCES}
        return web.json_response(listing)
    return web.Response(status=200 if request.path == "/healthz" else 404)


async def main() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, port=8443, ssl_context=context).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
