#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "starlette",
#     "uvicorn",
# ]
# ///
import uvicorn
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route


async def index(request):
    return HTMLResponse("<h1>HELLO ONE</h1>")


app = Starlette(routes=[Route("/", index)])

if __name__ == "__main__":
    uvicorn.run(app, port=8000)
