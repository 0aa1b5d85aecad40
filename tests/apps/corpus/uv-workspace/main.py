from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from words import TEXT

app = FastAPI()


@app.get("/", response_class=HTMLResponse)
def index() -> str:
    return f"<h1>HELLO ONE</h1><p>{TEXT}</p>"
