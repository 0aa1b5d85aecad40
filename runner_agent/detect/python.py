"""Which program of a Python project serves, and how it is run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from runner_agent.detect.plan import Plan, variables
from runner_agent.detect.python_install import VENV_PYTHON, has_manifest, python_install, wanted_packages
from runner_agent.detect.python_source import Source, read_source
from runner_agent.detect.reading import Reader, below, folders
from runner_agent.detect.tools import PYTHON_SOURCES

ENTRIES = (
    "main.py",
    "app.py",
    "server.py",
    "api.py",
    "asgi.py",
    "wsgi.py",
    "run.py",
    "application.py",
    "index.py",
    "__init__.py",
    "Home.py",
    "streamlit_app.py",
    "dashboard.py",
    "demo.py",
    "bot.py",
    "hello.py",
)
_FOLDERS = ("app", "src", "backend", "api", "server", "web")
_PROGRAMS = ("main.py", "app.py", "server.py", "run.py", "api.py", "index.py")
"""Run as they are when no framework is found in them."""
_ANY = "0.0.0.0"  # noqa: S104 - in its pod
_ASGI = frozenset({"fastapi", "starlette", "litestar", "quart", "fasthtml", "blacksheep", "django-asgi"})
_BY_IMPORT = (
    "streamlit",
    "chainlit",
    "gradio",
    "panel",
    "solara",
    "mesop",
    "nicegui",
    "marimo",
    "aiohttp",
    "tornado",
    "dash",
    "flet",
    "pywebio",
)


def python_plan(read: Reader, port: int) -> Plan | None:
    python = VENV_PYTHON if python_install(read) is not None else "python3"
    if read("manage.py") is not None:
        return _plan((python, "manage.py", "runserver", f"0.0.0.0:{port}", "--noreload"), port, "django")
    if read("rxconfig.py") is not None:
        return _plan((python, "-m", "reflex", "run", "--frontend-port", str(port)), port, "reflex", True)
    plain = None
    for path, source in _sources(read):
        if source is None:
            if "/" not in path and path in _PROGRAMS:  # a syntax error: it is shown by running it
                plain = plain or path
            continue
        if (command := _serving(read, python, path, source, port)) is not None:
            return command
        name = path.rpartition("/")[2]
        if (source.runs and name in _PROGRAMS) or ("/" not in path and name in _PROGRAMS[:3]):
            plain = plain or path
    return _plan((python, plain), port, "python") if plain is not None else None


def _sources(read: Reader) -> Iterator[tuple[str, Source | None]]:
    """Entries at the top, then in folders that people call by the usual names, then in the only package."""
    yield from _entries(read, "")
    # a folder with manifests of its own is an app of its own, and so is each one beside a package.json
    apart = any(read(f"{name}/package.json") is not None for name in folders(read)) and not has_manifest(read)
    inner = [name for name in folders(read) if not apart and not has_manifest(below(read, name))]
    for folder in (name for name in _FOLDERS if name in inner):
        yield from _entries(read, folder)
    packages = [folder for folder in inner if read(f"{folder}/__init__.py") is not None and folder not in _FOLDERS]
    in_source = [f"src/{name}" for name in folders(read, "src") if read(f"src/{name}/__init__.py") is not None]
    for folder in [*(packages if len(packages) == 1 else ()), *(in_source if len(in_source) == 1 else ())]:
        yield from _entries(read, folder)


def _entries(read: Reader, folder: str) -> Iterator[tuple[str, Source | None]]:
    there = set(read.names(folder))
    for name in ENTRIES:
        path = f"{folder}/{name}" if folder else name
        if name in there and (content := read(path)) is not None:
            yield path, read_source(content)


def _serving(read: Reader, python: str, path: str, source: Source, port: int) -> Plan | None:
    """The plan of a file that makes an application."""
    number = str(port)
    at = ("--host", "0.0.0.0", "--port", number)  # noqa: S104 - in its pod
    framework = source.framework
    if "streamlit" in source.imports:
        flags = (
            "--server.address",
            "0.0.0.0",  # noqa: S104 - in its pod
            "--server.port",
            number,
            "--server.headless",
            "true",
            "--server.runOnSave",
            "true",
        )
        return _plan((python, "-m", "streamlit", "run", path, *flags), port, "streamlit", True)
    if "chainlit" in source.imports:
        return _plan((python, "-m", "chainlit", "run", path, *at, "--headless"), port, "chainlit")
    if "mesop" in source.imports and "mesop" in wanted_packages(read):
        return _plan((python, "-m", "mesop.bin.bin", f"--path={path}", f"--port={port}"), port, "mesop", True)
    if "panel" in source.imports and not source.runs and not framework:
        return _plan(
            (python, "-m", "panel", "serve", path, "--address", _ANY, "--port", number, "--allow-websocket-origin=*"),
            port,
            "panel",
        )
    if "solara" in source.imports and not framework and not source.runs:
        return _plan((python, "-m", "solara", "run", path, *at, "--no-open"), port, "solara", True)
    if framework == "?":
        packages = wanted_packages(read)
        framework = next(
            (name for name in ("fastapi", "flask", "quart", "starlette", "litestar", "sanic") if name in packages), "flask"
        )
    if not framework or (source.runs and not source.plainly) or (framework in ("dash", "bottle", "fasthtml") and source.runs):
        word = next((name for name in _BY_IMPORT if name in source.imports), framework or "python")
        known = framework or any(name in source.imports for name in _BY_IMPORT) or source.runs
        return _plan((python, path), port, word) if known and (framework or source.runs or word == "gradio") else None
    module, folder = _module(read, path, source)
    inside = ("--app-dir", folder) if folder else ()
    if framework in _ASGI:
        factory = ("--factory",) if source.factory else ()
        return _plan((python, "-m", "uvicorn", f"{module}:{source.name}", *factory, *inside, *at), port, framework)
    if framework in ("flask", "dash", "django-wsgi", "bottle"):
        name = "" if source.name in ("app", "application", "create_app", "make_app") else f":{source.name}"
        if framework in ("django-wsgi", "bottle", "dash"):
            return None
        where = path if folder else module
        return _plan((python, "-m", "flask", "--app", f"{where}{name}", "run", "--debug", "--no-reload", *at), port, "flask")
    if framework == "sanic":
        return _plan((python, "-m", "sanic", f"{module}:{source.name}", *at, "--single-process"), port, "sanic")
    return None


def _plan(command: tuple[str, ...], port: int, framework: str, reloads: bool = False) -> Plan:
    shown = shlex.join(["python", *command[1:]])
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
