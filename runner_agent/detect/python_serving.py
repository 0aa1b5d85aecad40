"""How a Python file that makes an application is served."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from runner_agent.detect.plan import Plan, variables
from runner_agent.detect.python_source import Source
from runner_agent.detect.python_wanted import wanted_packages
from runner_agent.detect.reading import Reader
from runner_agent.detect.tools import PYTHON_SOURCES

_ANY = "0.0.0.0"  # noqa: S104 - in its pod
_AT = f"--host {_ANY} --port {{port}}"
_ASGI = frozenset({"fastapi", "starlette", "litestar", "quart", "fasthtml", "django-asgi", "asgi"})
_WSGI = frozenset({"django-wsgi", "bottle", "wsgi", "dash"})
_RUN_THEMSELVES = frozenset({"dash", "bottle", "fasthtml", "robyn"})
"""Where a file starts its server, that is how it means to be served."""
_BY_IMPORT = (
    "gradio",
    "nicegui",
    "flet",
    "aiohttp",
    "tornado",
    "cherrypy",
    "robyn",
    "pywebio",
    "justpy",
    "remi",
    "taipy",
    "bottle",
    "dash",
    "fastmcp",
    "socketserver",
    "wsgiref",
    "http",
    "uvicorn",
    "waitress",
    "hypercorn",
    "websockets",
    "twisted",
    "eventlet",
    "gevent",
)
"""Packages of a program that serves when it is run."""
_THREADED = (
    "import sys; sys.path.insert(0, {folder!r}); import socketserver, wsgiref.simple_server as w, {module} as m; "
    "S = type('S', (socketserver.ThreadingMixIn, w.WSGIServer), {{'daemon_threads': True}}); "
    "w.make_server({host!r}, {port}, m.{name}, S).serve_forever()"
)
"""Python's own server for an application of WSGI, for a project that names none."""


@dataclass(frozen=True, slots=True)
class _Tool:
    """A program of the package ``name`` that runs a file: ``command`` follows ``python -m``. ``reloads``: it sees changes."""

    name: str
    command: str
    reloads: bool = False
    always: bool = False
    """Also for a file that does something when it is run as a program."""


_TOOLS = (
    _Tool(
        "streamlit",
        f"streamlit run {{path}} --server.address {_ANY} --server.port {{port}} --server.headless true --server.runOnSave true",
        True,
        True,
    ),
    _Tool("chainlit", f"chainlit run {{path}} {_AT} --headless", always=True),
    _Tool("marimo", f"marimo run {{path}} {_AT} --headless", always=True),
    _Tool("shiny", f"shiny run {{path}} {_AT}"),
    _Tool("mesop", "mesop.bin.bin --path={path} --port={port}", True, True),
    _Tool("panel", f"panel serve {{path}} --address {_ANY} --port {{port}} --allow-websocket-origin=*"),
    _Tool("bokeh", f"bokeh serve {{path}} --address {_ANY} --port {{port}} --allow-websocket-origin=*"),
    _Tool("solara", f"solara run {{path}} {_AT} --no-open", True),
)


def serving(read: Reader, python: str, path: str, source: Source, port: int) -> Plan | None:
    """The plan of a file that makes an application; None for one that makes none."""
    for tool in _TOOLS:
        own = source.framework in ("", tool.name, "?")
        meant = tool.name in source.imports and own and (tool.always or not source.runs)
        if meant and (tool.name != "mesop" or "mesop" in wanted_packages(read)):
            words = tuple(word.format(path=path, port=port) for word in tool.command.split())
            return python_plan_of((python, "-m", *words), port, tool.name, tool.reloads)
    framework = source.framework
    if framework == "?":
        packages = wanted_packages(read)
        framework = next(
            (name for name in ("fastapi", "flask", "quart", "starlette", "litestar", "sanic") if name in packages), "flask"
        )
    if not framework and re.fullmatch(r"[\w.]+:[\w.]+", source.target):
        at = _AT.format(port=port).split()
        return python_plan_of((python, "-m", "uvicorn", source.target, *at), port, "uvicorn")
    if not framework or (source.runs and (not source.plainly or framework in _RUN_THEMSELVES)):
        word = next((name for name in _BY_IMPORT if name in source.imports), "")
        known = framework or (source.runs and word) or word in ("gradio", "flet")
        return python_plan_of(as_program(python, path), port, framework or word) if known else None
    return _of_application(read, python, path, source, framework=framework, port=port)


def _of_application(  # noqa: PLR0913
    read: Reader, python: str, path: str, source: Source, *, framework: str, port: int
) -> Plan | None:
    at = tuple(_AT.format(port=port).split())
    module, folder = _module(read, path, source)
    if framework in _ASGI:
        more = (*(("--factory",) if source.factory else ()), *(("--app-dir", folder) if folder else ()))
        return python_plan_of((python, "-m", "uvicorn", f"{module}:{source.name}", *more, *at), port, framework)
    if framework == "flask":
        name = "" if source.name in ("app", "application", "create_app", "make_app") else f":{source.name}"
        where = path if folder else module
        return python_plan_of(
            (python, "-m", "flask", "--app", f"{where}{name}", "run", "--debug", "--no-reload", *at), port, "flask"
        )
    if framework == "sanic":
        return python_plan_of((python, "-m", "sanic", f"{module}:{source.name}", *at, "--single-process"), port, "sanic")
    if framework not in _WSGI:
        return None
    name = f"{source.name}.server" if framework == "dash" else f"{source.name}{'()' if source.factory else ''}"
    if "gunicorn" in wanted_packages(read):
        inside = ("--chdir", folder) if folder else ()
        command = (python, "-m", "gunicorn", *inside, "--bind", f"{_ANY}:{port}", "--threads", "8", f"{module}:{name}")
        return python_plan_of(command, port, framework)
    code = _THREADED.format(folder=folder or ".", module=module, host=_ANY, port=port, name=name)
    return python_plan_of((python, "-c", code), port, framework, shown=f"wsgiref {module}:{name}")


def as_program(python: str, path: str) -> tuple[str, ...]:
    """The command that runs a file; ``app/__main__.py`` is the package ``app``."""
    folder, _, name = path.rpartition("/")
    if name == "__main__.py" and folder:
        return python, "-m", folder.removeprefix("src/").replace("/", ".")
    return python, path


def python_plan_of(command: tuple[str, ...], port: int, framework: str, reloads: bool = False, shown: str = "") -> Plan:
    shown = shown or shlex.join(["python", *command[1:]])
    return Plan(command, variables(port), () if reloads else PYTHON_SOURCES, reloads, framework, shown)


def _module(read: Reader, path: str, source: Source) -> tuple[str, str]:
    """Name to import, and the folder to import it from ("" for the working directory).

    From inside its folder when it imports its neighbours by their bare names.
    """
    folder, _, name = path.rpartition("/")
    stem = name.removesuffix(".py")
    if not folder:
        return stem, ""
    package, _, last = folder.rpartition("/")
    if package == "src" and read(f"{folder}/__init__.py") is not None:
        return (f"{last}.{stem}" if stem != "__init__" else last), "src"
    neighbours = {each.removesuffix(".py").rstrip("/") for each in read.names(folder)} - {stem, "__init__"}
    if not source.relative and last not in source.imports and neighbours & source.imports and stem != "__init__":
        return stem, folder
    dotted = folder.replace("/", ".")
    return (f"{dotted}.{stem}" if stem != "__init__" else dotted), ""
