from sanic import Sanic
from sanic.response import html

app = Sanic("shop")


@app.get("/")
async def home(request):
    return html("<!doctype html><title>x</title><h1>HELLO ONE</h1>")


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=8000, single_process=True)
