"""``proxy``: the app's own HTTP for API clients, with RBAC as on pods/proxy. Browsers get a preview URL instead.

It goes to the preview port, which knows no token, and carries neither the caller's credentials nor their name to the app.
"""

from __future__ import annotations

import aiohttp
from aiohttp import web
from yarl import URL

from sandbox_operator.apiserver import headers, relay, tunnel
from sandbox_operator.apiserver.dial import CONNECT_SECONDS
from sandbox_operator.apiserver.runners import app_port
from sandbox_operator.apiserver.verb import METHOD_ACTIONS, Call, Operation, Services, Verb
from sandbox_protocol.errors import StatusError

_PORT_HEADER = "X-Sandbox-Port"


async def forward(call: Call, services: Services) -> web.StreamResponse:
    request, host = call.request, call.runner.refs.preview_host
    _, mark, query = request.raw_path.partition("?")
    path = (call.target.rest or "/") + mark + query
    sent = headers.to_app(request.headers)
    sent[_PORT_HEADER] = str(app_port(call.runner.port, "spec.port"))
    if tunnel.wants_upgrade(request):
        async with services.long_running.until_shutdown():
            await tunnel.splice(request, tunnel.to_app(request, host, services.preview_port, path, sent))
        return relay.Finished(101)
    body, length = await relay.request_body(request)
    sent.update(length)
    try:
        async with services.apps.request(
            request.method,
            URL(f"http://{host}:{services.preview_port}{path}", encoded=True),
            headers=sent,
            data=body,
            allow_redirects=False,
            # no total and no silence limit: an app may stream events for hours
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        ) as upstream:
            response = web.StreamResponse(status=upstream.status, headers=headers.from_app(upstream.headers))
            async with services.long_running.until_shutdown():
                await relay.copy(request, response, upstream.content)
            return response
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise call.runner.unavailable("the runner's agent cannot be reached") from error
    except aiohttp.ClientError as error:
        raise StatusError(502, "the connection to the app broke before its answer was complete") from error


VERB = Verb(
    "proxy",
    "Proxy",
    tuple(
        Operation(method, action, f"Pass a {method} to the app.", forward, returns=(("*/*", ""),))
        for method, action in METHOD_ACTIONS.items()
    ),
    below=True,
)
