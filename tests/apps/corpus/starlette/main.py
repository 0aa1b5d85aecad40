from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route


async def home(request):
    return HTMLResponse("<!doctype html><title>x</title><h1>HELLO ONE</h1>")


app = Starlette(routes=[Route("/", home)])
