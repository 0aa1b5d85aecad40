"""A message board: one page, one list in memory, one WebSocket that tells every open page of a new message."""

import html
import os
from pathlib import Path

from aiohttp import WSMsgType, web

HEADLINE = "What are we building today?"
PAGE = (Path(__file__).parent / "page.html").read_text()
MESSAGES = web.AppKey("messages", list[str])
READERS = web.AppKey("readers", set[web.WebSocketResponse])


async def index(request: web.Request) -> web.Response:
    items = "".join(f"<li>{html.escape(text)}</li>" for text in request.app[MESSAGES])
    visits = int(request.cookies.get("visits", "0") if request.cookies.get("visits", "0").isdigit() else 0) + 1
    page = PAGE.replace("{{headline}}", HEADLINE).replace("{{messages}}", items).replace("{{visits}}", str(visits))
    response = web.Response(text=page, content_type="text/html")
    response.set_cookie("visits", str(visits), samesite="Lax", max_age=86400)
    return response


async def live(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(heartbeat=30)
    await socket.prepare(request)
    readers = request.app[READERS]
    readers.add(socket)
    try:
        async for message in socket:
            text = message.data.strip()[:200] if message.type == WSMsgType.TEXT else ""
            if text:
                request.app[MESSAGES].append(text)
                for reader in list(readers):
                    await reader.send_str(text)
    finally:
        readers.discard(socket)
    return socket


async def echo(request: web.Request) -> web.Response:
    """What a request looks like when it arrives here: handy while building, and what our own tests read."""
    return web.json_response(
        {"method": request.method, "path": request.path_qs, "headers": dict(request.headers), "cookies": dict(request.cookies)}
    )


def application() -> web.Application:
    app = web.Application()
    app[MESSAGES], app[READERS] = ["Hello from the sandbox"], set()
    app.add_routes([web.get("/", index), web.get("/live", live), web.route("*", "/echo", echo)])
    return app


if __name__ == "__main__":
    web.run_app(application(), host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8000")))
