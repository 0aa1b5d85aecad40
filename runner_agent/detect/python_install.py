"""How the packages of a Python project are installed: what its manifest asks for, in the versions that its lock file names.

pip does it, whatever tool the project was made with, so that index and credentials are set in one way only (PIP_INDEX_URL). A
lock file becomes pip's constraints; its hashes are not looked at.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from runner_agent.detect.install import Install, step
from runner_agent.detect.python_source import read_source
from runner_agent.detect.reading import Reader, below, json_object, text
from runner_agent.detect.versions import python_note

VENV_PYTHON = ".venv/bin/python"
_REQUIREMENTS = (
    "requirements.txt",
    *(
        f"requirements/{name}.txt"
        for name in ("dev", "local", "development", "base", "common", "main", "requirements", "prod", "production")
    ),
    "requirements-dev.txt",
    "requirements_dev.txt",
    "dev-requirements.txt",
    "requirements.in",
    "app/requirements.txt",
    "src/requirements.txt",
)
_MANIFESTS = ("pyproject.toml", "setup.py", "setup.cfg", "Pipfile", "requirements.txt")
_LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml", "Pipfile.lock")
_ASGI = {"fastapi", "starlette", "litestar", "quart", "blacksheep"}
_SERVERS = {"uvicorn", "hypercorn", "granian", "daphne", "gunicorn", "fastapi-cli"}
_PINS = 2000
"""Of a lock file; they travel as one argument, which Linux bounds to 128 KiB."""
_IMPORTED = {
    **{
        name: name
        for name in [
            "fastapi",
            "flask",
            "django",
            "streamlit",
            "gradio",
            "dash",
            "starlette",
            "litestar",
            "quart",
            "sanic",
            "aiohttp",
            "tornado",
            "bottle",
            "nicegui",
            "panel",
            "chainlit",
            "uvicorn",
            "requests",
            "httpx",
            "numpy",
            "pandas",
            "matplotlib",
            "plotly",
            "jinja2",
            "sqlalchemy",
            "pydantic",
            "pymongo",
            "redis",
            "openai",
            "anthropic",
            "flask_cors",
            "flask_sqlalchemy",
            "flask_socketio",
            "sqlmodel",
            "aiosqlite",
            "websockets",
            "markdown",
            "seaborn",
            "scipy",
            "altair",
        ]
    },
    "dotenv": "python-dotenv",
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
    "flask_login": "flask-login",
    "multipart": "python-multipart",
    "fasthtml": "python-fasthtml",
    "psycopg2": "psycopg2-binary",
}
"""Import name → package, for programs without any manifest. A name that is not here is nobody's guess."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """``arguments`` of pip install, ``pins`` (``name==version``) as its constraints, the files they came from, and the Python
    asked for."""

    arguments: tuple[str, ...]
    pins: tuple[str, ...] = ()
    python: str = ""
    where: str = ""
    files: tuple[str, ...] = ()
    implied: tuple[str, ...] = ()


def python_install(read: Reader, inside: str = "") -> Install | None:
    """None for a tree that asks for no package."""
    tree = read if not inside else below(read, inside)
    wanted = _wanted(tree)
    if wanted is None:
        return None
    arguments = list(wanted.arguments)
    names = {_name(argument) for argument in arguments} | wanted_packages(tree)
    if (
        names & _ASGI
        and not names & _SERVERS
        and not any("fastapi[" in _squeezed(a) for a in (*arguments, text(tree, arguments[-1])))
    ):
        arguments.append("uvicorn")  # what serves such an application
    pip = f"{VENV_PYTHON} -m pip install --disable-pip-version-check {shlex.join(arguments)}"
    body = python_note(wanted.python, wanted.where) if wanted.python else ""
    site = " --system-site-packages" if wanted.implied else ""
    body += f"test -x .venv/bin/pip || python3 -m venv --clear{site} .venv || exit; "
    if any(name.endswith(("/", ".py")) for name in tree.names("src")):
        body += 'for s in .venv/lib/python3*/site-packages; do echo "$PWD/src" > "$s/workspace.pth"; done; '
    if wanted.implied:
        body += f"{VENV_PYTHON} -c {shlex.quote('import ' + ', '.join(wanted.implied))} 2>/dev/null && exit; "
        body += f"echo {shlex.quote('no requirements.txt: installs what the program imports')}; "
    if wanted.pins:
        pins = "\\n".join(wanted.pins)
        body += 'mkdir -p "$HOME/.sandbox"; '
        body += f'printf {shlex.quote(pins)}"\\n" > "$HOME/.sandbox/pins.txt"; {pip} -c "$HOME/.sandbox/pins.txt"'
    else:
        body += pip
    where = f"{inside}/" if inside else ""
    manifests = [where + path for path in dict.fromkeys((*_MANIFESTS, *wanted.files))]
    return step(
        read,
        inside,
        ".venv",
        body,
        f"pip install {shlex.join(arguments)}",
        manifests=manifests,
        locks=[where + lock for lock in _LOCKS],
    )


def has_manifest(read: Reader) -> bool:
    """Whether a folder says itself which packages it needs."""
    return any(read(name) is not None for name in (*_MANIFESTS, "package.json"))


def wanted_packages(read: Reader) -> frozenset[str]:
    """Names of the packages that the project asks for, as far as its files say."""
    wanted = _wanted(read)
    if wanted is None:
        return frozenset()
    lines = [line for path in wanted.files if path.endswith((".txt", ".in")) for line in text(read, path).splitlines()]
    return frozenset(_name(each) for each in (*wanted.arguments, *lines)) - {""}


def _wanted(read: Reader) -> Wanted | None:
    found = _of_requirements(read) or _of_pyproject(read) or _of_pipfile(read)
    if found is None and (read("setup.py") is not None or b"install_requires" in (read("setup.cfg") or b"")):
        found = Wanted(("-e", "."), (), "", "", ("setup.py", "setup.cfg"))
    return found or _of_imports(read)


def _of_requirements(read: Reader) -> Wanted | None:
    path = next((path for path in _REQUIREMENTS if read(path) is not None), None)
    if path is None:
        return None
    return Wanted(
        ("-r", path),
        (),
        _toml(read("pyproject.toml")).get("project", {}).get("requires-python", ""),
        "pyproject.toml",
        _included(read, path),
    )


def _included(read: Reader, path: str) -> tuple[str, ...]:
    """The file, and those that it includes, relative to itself."""
    found = [path]
    for each in found:
        folder = each.rpartition("/")[0]
        for name in re.findall(r"^\s*(?:-r|-c|--requirement|--constraint)[ =]+(\S+)", text(read, each), re.MULTILINE):
            target = f"{folder}/{name}".strip("/") if not name.startswith("../") else name.removeprefix("../")
            if target not in found and len(found) < 20:
                found.append(target)
    return tuple(found)


def _of_pyproject(read: Reader) -> Wanted | None:
    document = _toml(read("pyproject.toml"))
    project, tool = _table(document.get("project")), _table(document.get("tool"))
    poetry = _table(tool.get("poetry"))
    lines = _texts(project.get("dependencies"))
    python = project.get("requires-python", "")
    if poetry:
        groups = [_table(poetry.get("dependencies")), _table(poetry.get("dev-dependencies"))]
        groups += [
            _table(group.get("dependencies"))
            for group in map(_table, _table(poetry.get("group")).values())
            if not group.get("optional")
        ]
        lines += [line for group in groups for name, said in group.items() if (line := _poetry_line(name, said))]
        said = groups[0].get("python")
        python = python or (said if isinstance(said, str) else "")
    dynamic = "dependencies" in _texts(project.get("dynamic"))
    if dynamic:
        files = _table(_table(_table(tool.get("setuptools")).get("dynamic")).get("dependencies")).get("file")
        names = [files] if isinstance(files, str) else _texts(files)
        lines += [word for name in names for word in ("-r", name)] or ["-e", "."]
    lines += _group(_table(document.get("dependency-groups")), "dev", 0)
    if not lines:
        return None
    return Wanted(
        tuple(dict.fromkeys(lines)) if not dynamic else tuple(lines),
        _pins(read),
        python if isinstance(python, str) else "",
        "pyproject.toml",
    )


def _group(groups: Mapping[str, Any], name: str, depth: int) -> list[str]:
    found: list[str] = []
    entries = groups.get(name)
    for entry in entries if isinstance(entries, list) and depth < 5 else ():
        if isinstance(entry, str):
            found.append(entry)
        elif isinstance(included := _table(entry).get("include-group"), str):
            found += _group(groups, included, depth + 1)
    return found


def _of_pipfile(read: Reader) -> Wanted | None:
    content = read("Pipfile")
    if content is None:
        return None
    document = _toml(content)
    lines = [line for name, said in _table(document.get("packages")).items() if (line := _poetry_line(name, said))]
    locked = _table(json_object(read("Pipfile.lock")).get("default"))
    pins = [f"{name}{version}" for name, said in locked.items() if isinstance(version := _table(said).get("version"), str)]
    python = _table(document.get("requires")).get("python_version", "")
    return (
        Wanted(tuple(lines), tuple(pins[:_PINS]), f"=={python}.*" if python else "", "Pipfile", ("Pipfile",)) if lines else None
    )


def _of_imports(read: Reader) -> Wanted | None:
    """What a lone program imports, by a list of well-known packages."""
    for path in ("main.py", "app.py", "server.py", "api.py", "streamlit_app.py", "run.py"):
        source = read_source(content) if (content := read(path)) is not None else None
        if source is not None and (found := sorted(source.imports & _IMPORTED.keys())):
            return Wanted(tuple(_IMPORTED[name] for name in found), (), "", "", (path,), tuple(found))
    return None


def _poetry_line(name: str, said: Any) -> str:
    """One entry of Poetry's or Pipenv's tables as pip writes it; "" for Python itself and what cannot be written so."""
    if name.lower() == "python":
        return ""
    if isinstance(said, list):
        said = said[0] if said else "*"
    if isinstance(said, str):
        return name + _versions(said)
    table = _table(said)
    if table.get("optional"):
        return ""
    extras = ",".join(_texts(table.get("extras")))
    named = f"{name}[{extras}]" if extras else name
    if isinstance(git := table.get("git"), str):
        at = next((table[key] for key in ("rev", "ref", "tag", "branch") if isinstance(table.get(key), str)), "")
        return f"{named} @ git+{git}" + (f"@{at}" if at else "")
    if isinstance(path := table.get("path"), str):
        return f"./{path}"
    marker = f" ; {table['markers']}" if isinstance(table.get("markers"), str) else ""
    return named + _versions(str(table.get("version", "*"))) + marker


def _versions(said: str) -> str:
    """``^1.2`` and the like in pip's words."""
    parts = []
    for part in said.replace(" ", "").split(","):
        match = re.fullmatch(r"(\^|~)(\d+(?:\.\d+)*)([\w.-]*)", part)
        if match:
            numbers = [int(n) for n in match[2].split(".")]
            at = 0 if match[1] == "^" else min(1, len(numbers) - 1)
            if match[1] == "^":
                at = next((i for i, n in enumerate(numbers) if n), len(numbers) - 1)
            upper = [*numbers[:at], numbers[at] + 1]
            parts += [f">={match[2]}{match[3]}", f"<{'.'.join(map(str, upper))}"]
        elif part in ("*", ""):
            continue
        else:
            parts.append(part if part[0] in "<>=!~" else f"=={part}")
    return ",".join(parts)


def _pins(read: Reader) -> tuple[str, ...]:
    """Versions of uv.lock, poetry.lock or pdm.lock: of packages that a registry has, in one version only."""
    for lock in ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml"):
        if (content := read(lock)) is not None:
            return _locked(content)
    return ()


@lru_cache(maxsize=4)
def _locked(content: bytes) -> tuple[str, ...]:
    document = _toml(content)
    versions: dict[str, set[str]] = {}
    for entry in map(_table, document.get("package", document.get("packages", ()))):
        name, version, source = entry.get("name"), entry.get("version"), _table(entry.get("source"))
        if (
            isinstance(name, str)
            and isinstance(version, str)
            and not source.keys() & {"virtual", "editable", "directory", "git", "url", "path"}
            and source.get("type") not in ("git", "url", "directory", "file")
            and re.fullmatch(r"[\w.+!-]+", version)
        ):
            versions.setdefault(name, set()).add(version)
    return tuple(f"{name}=={next(iter(found))}" for name, found in sorted(versions.items()) if len(found) == 1)[:_PINS]


def _toml(content: bytes | None) -> dict[str, Any]:
    try:
        return tomllib.loads((content or b"").decode("utf-8", "replace"))
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _name(requirement: str) -> str:
    match = re.match(r"\s*([A-Za-z0-9][\w.-]*)", requirement)
    return re.sub(r"[-_.]+", "-", match[1]).lower() if match else ""


def _squeezed(line: str) -> str:
    return re.sub(r"\s", "", line).lower()
