from aiohttp import web


async def home(request):
    return web.Response(text="<!doctype html><title>x</title><h1>HELLO ONE</h1>", content_type="text/html")


app = web.Application()
app.router.add_get("/", home)
web.run_app(app)
