"""Which program of a Python project serves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runner_agent.detect.plan import NoCommandError, Plan
from runner_agent.detect.python_install import VENV_PYTHON, has_manifest, python_install
from runner_agent.detect.python_serving import as_program, python_plan_of, serving
from runner_agent.detect.python_site import Site
from runner_agent.detect.python_source import Source, read_source
from runner_agent.detect.python_tables import not_toml
from runner_agent.detect.reading import Reader, below, folders

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
    "__main__.py",
)
"""Names that people give to what is run, in the order in which they are asked."""
_FOLDERS = ("app", "src", "backend", "api", "server", "web")
_PROGRAMS = ("main.py", "app.py", "server.py", "run.py", "api.py", "index.py")
"""Run as they are when no framework is found in them."""
_HELPERS = ("test_", "conftest", "setup", "manage", "noxfile", "tasks", "fabfile", "gunicorn", "locustfile")
"""Beginnings of the names of files that no app begins with."""
_FILES = 40
"""Of one folder that are read for an app under another name."""


def python_plan(read: Reader, port: int) -> Plan | None:
    """``framework`` of the result is "python" for a program that is not known to serve, "script" for one that is not even known
    to do something when it is run. NoCommandError for a manifest that
    cannot be read."""
    for name in ("pyproject.toml", "Pipfile") if read("requirements.txt") is None else ():
        if (wrong := not_toml(read(name) or b"")) is not None:
            raise NoCommandError(f"{name} {wrong}")
    python = VENV_PYTHON if python_install(read) is not None else "python3"
    if read("manage.py") is not None:
        return python_plan_of((python, "manage.py", "runserver", f"0.0.0.0:{port}", "--noreload"), port, "django")
    if read("rxconfig.py") is not None:
        return python_plan_of((python, "-m", "reflex", "run", "--frontend-port", str(port)), port, "reflex", True)
    plain: str | None = None
    word = ""
    spare: Plan | None = None
    for path, source in _sources(read):
        name = path.rpartition("/")[2]
        if source is None:
            continue
        if (found := serving(read, python, path, source, port)) is not None:
            if source.framework != "dash" or source.runs:
                return found
            spare = spare or found  # pages are put into it by a neighbour that imports it
            continue
        # one with a syntax error says so when it is run
        anyway = _PROGRAMS if source.broken else _PROGRAMS[:3]
        if (source.runs and name in (*_PROGRAMS, "__main__.py")) or ("/" not in path and name in anyway):
            plain = plain or path
            word = word or ("python" if source.runs or source.broken or name != "main.py" else "script")
    return python_plan_of(as_program(python, plain), port, word) if plain is not None else spare


def site_plan(site: Site, port: int) -> Plan:
    return python_plan_of(site.command(VENV_PYTHON, port), port, site.name, site.reloads)


def _sources(read: Reader) -> Iterator[tuple[str, Source | None]]:
    """Files by the usual names at the top, then in folders that people call so, then in packages; then those by other names."""
    # a folder with manifests of its own is an app of its own, and so is each one beside a package.json
    apart = any(read(f"{name}/package.json") is not None for name in folders(read)) and not has_manifest(read)
    inner = [name for name in folders(read) if not apart and not has_manifest(below(read, name))]
    packages = [folder for folder in inner if read(f"{folder}/__init__.py") is not None and folder not in _FOLDERS]
    in_source = [f"src/{name}" for name in folders(read, "src") if read(f"src/{name}/__init__.py") is not None]
    where = ["", *(name for name in _FOLDERS if name in inner), *packages[:5], *in_source[:5]]
    for folder in where:
        yield from _entries(read, folder)
    for folder in where:
        yield from _others(read, folder)


def _entries(read: Reader, folder: str) -> Iterator[tuple[str, Source | None]]:
    there = set(read.names(folder))
    for name in ENTRIES:
        path = f"{folder}/{name}" if folder else name
        if name in there and (content := read(path)) is not None:
            yield path, read_source(content)


def _others(read: Reader, folder: str) -> Sequence[tuple[str, Source]]:
    """Files under other names that none of their neighbours imports: an app begins with them."""
    names = [
        name for name in read.names(folder) if name.endswith(".py") and name not in ENTRIES and not name.startswith(_HELPERS)
    ]
    paths = [f"{folder}/{name}".lstrip("/") for name in names[:_FILES]]
    read_ones = [(path, read_source(content)) for path in paths if (content := read(path)) is not None]
    found = [(path, source) for path, source in read_ones if source is not None]
    first = [
        (path, source)
        for path, source in found
        if not any(path.rpartition("/")[2].removesuffix(".py") in other.modules for at, other in found if at != path)
    ]
    return first or found
