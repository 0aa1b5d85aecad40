"""What to run when nobody said: found from the tree, in the order package.json, Python web app, static site.

Pure over a :class:`Reader`. Every choice is shown in the runner's status, so that a wrong guess is seen and can be overruled by
``spec.command``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Reader = Callable[[str], bytes | None]
"""Content of a file at the top of the tree; None when it is not there, is no plain file or is larger than a manifest can be."""

NODE_LOCKS = {
    "pnpm-lock.yaml": ("npx", "--yes", "pnpm", "install"),
    "yarn.lock": ("npx", "--yes", "yarn", "install"),
    # not `npm ci`: it deletes node_modules first, which makes the common case, one more package, as slow as the first install
    "package-lock.json": ("npm", "install", "--no-audit", "--no-fund"),
}
_NPM_INSTALL = NODE_LOCKS["package-lock.json"]
_NODE_DEPENDENCIES = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies", "workspaces")
_NODE_SUFFIXES = (".js", ".mjs", ".cjs", ".ts", ".json")
_PYTHON_ENTRIES = ("app.py", "main.py", "server.py")
_PYTHON = ".venv/bin/python"
_MAKE_VENV = f"test -x {_PYTHON} || python3 -m venv .venv; exec {_PYTHON} -m pip install --disable-pip-version-check "

CONFIGURATION = frozenset(
    {"package.json", ".npmrc", ".env", "tsconfig.json", "requirements.txt", "pyproject.toml", "setup.py", *NODE_LOCKS}
)
_CONFIGURATION = re.compile(
    r"(vite|next|nuxt|astro|svelte|webpack|postcss|tailwind|babel|rollup)\.config\.[cm]?[jt]s|\.env(\.\w+)*"
)


@dataclass(frozen=True, slots=True)
class Install:
    """A step before the app: ``command``, done again when ``digest`` (of manifest and lock file) or ``folder`` is another."""

    command: tuple[str, ...]
    digest: str
    folder: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What runs. ``restart_suffixes``: files whose change needs a restart, beside configuration, as nothing reloads them.
    ``reloads``: the program is known to see changed files by itself."""

    command: tuple[str, ...]
    restart_suffixes: tuple[str, ...] = ()
    reloads: bool = False
    framework: str = ""
    shown: str = ""

    def triggered_by(self, changed: Sequence[str]) -> bool:
        """Whether a sync that changed these paths needs a restart."""
        return any(is_configuration(path) or path.endswith(self.restart_suffixes or ("\0",)) for path in changed)


class NoCommandError(Exception):
    """Nothing in the tree says what to run; the message says what would."""


def is_configuration(path: str) -> bool:
    """Manifests, lock files and configuration at any depth: dev servers read them once, when they start."""
    name = path.rpartition("/")[2]
    return name in CONFIGURATION or _CONFIGURATION.fullmatch(name) is not None


def install(read: Reader) -> Install | None:
    """What must be installed before anything of this tree runs."""
    return _node_install(read) or _python_install(read)


def declared(command: Sequence[str]) -> Plan:
    """The plan of a command that somebody gave."""
    return Plan(tuple(command), _unwatched(command))


def _unwatched(command: Sequence[str]) -> tuple[str, ...]:
    """Suffixes of the sources that a program reads once, when it starts."""
    program = command[0].rpartition("/")[2] if command else ""
    if program.startswith("python"):
        return (".py",)
    if program == "node" and not any(word.startswith("--watch") for word in command):
        return _NODE_SUFFIXES
    return ()


def plan(read: Reader, command: Sequence[str] | None, port: int) -> Plan:
    """For a tree, the runner's own ``command`` (None: find one) and the port the app shall listen on. NoCommandError."""
    if command:
        return declared(command)
    if read("package.json") is not None:
        return _node(read, port)
    found = _python(read, port)
    if found is not None:
        return found
    if read("index.html") is not None:
        return Plan(("python3", "-m", "http.server", str(port), "--bind", "0.0.0.0"))  # noqa: S104 - in its pod
    raise NoCommandError(
        "nothing at the top of the tree says what to run: sync a package.json with a dev or start script, "
        f"one of {', '.join(_PYTHON_ENTRIES)}, or an index.html; or set spec.command"
    )


def _node(read: Reader, port: int) -> Plan:
    scripts = _package(read).get("scripts")
    scripts = scripts if isinstance(scripts, dict) else {}
    name = next((name for name in ("dev", "start") if isinstance(scripts.get(name), str)), None)
    if name is None:
        raise NoCommandError("package.json has neither a dev nor a start script: add one, or set spec.command")
    # PORT and HOST are in the environment; these two do not read them
    words = str(scripts[name]).split()
    program = words[0] if words else ""
    if program == "vite":
        extra = ["--", "--host", "0.0.0.0", "--port", str(port), "--strictPort"]  # noqa: S104 - in its pod
    elif program == "next":
        extra = ["--", "--hostname", "0.0.0.0", "--port", str(port)]  # noqa: S104 - in its pod
    else:
        extra = []
    return Plan(("npm", "run", name, *extra), _unwatched(words) if program == "node" else ())


def _package(read: Reader) -> dict[str, Any]:
    try:
        package = json.loads(read("package.json") or b"")
    except (ValueError, RecursionError) as error:
        raise NoCommandError("package.json is not JSON") from error
    if not isinstance(package, dict):
        raise NoCommandError("package.json is not a JSON object")
    return package


def _node_install(read: Reader) -> Install | None:
    package = read("package.json")
    if package is None or not _depends(package):  # npm would leave no node_modules to tell that it was done
        return None
    lock = next((name for name in NODE_LOCKS if read(name) is not None), None)
    command = NODE_LOCKS[lock] if lock else _NPM_INSTALL
    return Install(command, _digest(command, package, read(lock) if lock else b"", read(".npmrc")), "node_modules")


def _depends(package: bytes) -> bool:
    try:
        parsed = json.loads(package)
    except (ValueError, RecursionError):
        return False
    return isinstance(parsed, dict) and any(parsed.get(field) for field in _NODE_DEPENDENCIES)


def _python_install(read: Reader) -> Install | None:
    requirements, project = read("requirements.txt"), read("pyproject.toml")
    if requirements is not None:
        what, content = "-r requirements.txt", requirements
    elif project is not None and b"[project]" in project:
        what, content = "-e .", project
    else:
        return None
    command = ("sh", "-c", _MAKE_VENV + what)
    return Install(command, _digest(command, content), ".venv")


def _python(read: Reader, port: int) -> Plan | None:
    python = _PYTHON if _python_install(read) is not None else "python3"
    at = ("--host", "0.0.0.0", "--port", str(port))  # noqa: S104 - in its pod
    if read("manage.py") is not None:  # Django reloads by itself
        return Plan((python, "manage.py", "runserver", f"0.0.0.0:{port}"))
    for entry in _PYTHON_ENTRIES:
        source = read(entry)
        if source is None:
            continue
        module = entry.removesuffix(".py")
        runs_itself = b"__main__" in source
        if b"FastAPI(" in source and not runs_itself:
            return Plan((python, "-m", "uvicorn", f"{module}:app", "--reload", *at))
        if b"Flask(" in source and not runs_itself:
            return Plan((python, "-m", "flask", "--app", module, "run", "--debug", *at))
        return Plan((python, entry), (".py",))
    return None


def _digest(command: Sequence[str], *contents: bytes | None) -> str:
    digest = hashlib.sha256(repr(tuple(command)).encode())
    for content in contents:
        digest.update(b"\0" + hashlib.sha256(content or b"").digest())
    return digest.hexdigest()
