"""What a program without any manifest asks for: the packages that it imports, as far as their names are well known."""

from __future__ import annotations

from collections.abc import Mapping

from runner_agent.detect.python_source import read_source
from runner_agent.detect.reading import Reader

_FILES = 40
_SAME = (
    "aiohttp aiosqlite altair anthropic blacksheep bokeh bottle chainlit cherrypy connexion dash django duckdb eventlet falcon "
    "fastapi fastmcp flask flask_cors flask_login flask_migrate flask_socketio flask_sqlalchemy flask_wtf flet gevent gradio "
    "gunicorn httpx jinja2 litestar markdown marimo matplotlib mesop mistune nicegui numpy openai pandas panel peewee plotly "
    "polars pydantic pymongo pyramid pywebio quart redis reflex remi requests robyn sanic scipy seaborn shiny solara sqlalchemy "
    "sqlmodel starlette streamlit taipy tornado uvicorn waitress websockets"
)
IMPORTED: Mapping[str, str] = {
    **{name: name.replace("_", "-") for name in _SAME.split()},
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "dotenv": "python-dotenv",
    "fasthtml": "python-fasthtml",
    "h2o_wave": "h2o-wave",
    "jwt": "pyjwt",
    "multipart": "python-multipart",
    "psycopg2": "psycopg2-binary",
    "pydantic_settings": "pydantic-settings",
    "sklearn": "scikit-learn",
    "socketio": "python-socketio",
    "yaml": "pyyaml",
}
"""Import name → package. A name that is not here is nobody's guess: anybody can register any other one."""


def imported(read: Reader) -> tuple[str, ...]:
    """Import names, sorted, of packages in :data:`IMPORTED` that the files at the top and in their packages use."""
    there = read.names("")
    own = {name.removesuffix(".py").rstrip("/") for name in there}
    paths = [name for name in there if name.endswith(".py") and not name.startswith(("test_", "conftest"))]
    for folder in ("app", "src"):
        paths += [f"{folder}/{name}" for name in read.names(folder) if name.endswith(".py")] if f"{folder}/" in there else []
    found: set[str] = set()
    for path in paths[:_FILES]:
        content = read(path)
        source = read_source(content) if content is not None else None
        found |= source.imports if source is not None else set()
    return tuple(sorted(name for name in found & IMPORTED.keys() if name not in own))
