from litestar import Litestar, MediaType, get


@get("/", media_type=MediaType.HTML)
async def home() -> str:
    return "<!doctype html><title>x</title><h1>HELLO ONE</h1>"


app = Litestar([home])
