from quart import Quart

app = Quart(__name__)


@app.get("/")
async def home():
    return "<!doctype html><title>x</title><h1>HELLO ONE</h1>"


if __name__ == "__main__":
    app.run()
