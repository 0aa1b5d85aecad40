"""How the packages of a Python project are installed: what its manifest asks for, in the versions that its lock file names.

pip does it, whatever tool the project was made with, so that index and credentials are set in one way only (PIP_INDEX_URL). A
lock file becomes pip's constraints; its hashes are not looked at.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

from runner_agent.detect.install import Install, step
from runner_agent.detect.python_site import Site
from runner_agent.detect.python_tables import name_of, squeezed
from runner_agent.detect.python_wanted import Wanted, wanted_of, wanted_packages
from runner_agent.detect.reading import Reader, below, text
from runner_agent.detect.versions import python_note

VENV_PYTHON = ".venv/bin/python"
_MANIFESTS = ("pyproject.toml", "setup.py", "setup.cfg", "Pipfile", "requirements.txt")
_LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml", "Pipfile.lock")
_ASGI = {"fastapi", "starlette", "litestar", "quart", "blacksheep"}
_SERVERS = {"uvicorn", "hypercorn", "granian", "daphne", "gunicorn", "fastapi-cli"}


def python_install(read: Reader, inside: str = "", site: Site | None = None) -> Install | None:
    """None for a tree that asks for no package. ``site`` is what is served instead of a program, with packages of its own."""
    tree = read if not inside else below(read, inside)
    wanted = wanted_of(tree)
    if site is not None:
        listed = ("-r", site.requirements) if site.requirements else ()
        said = wanted if wanted is not None and not wanted.implied else Wanted(())
        wanted = replace(said, arguments=(*said.arguments, *listed), files=(*said.files, *listed[1:]))
    if wanted is None:
        return None
    arguments = list(wanted.arguments)
    asked = " ".join(text(tree, path) for path in wanted.files) + " ".join(arguments)
    arguments += [each for each in (site.packages if site is not None else ()) if not re.search(rf"\b{name_of(each)}\b", asked)]
    names = {name_of(argument) for argument in arguments} | wanted_packages(tree)
    if (
        names & _ASGI
        and not names & _SERVERS
        and not any("fastapi[" in squeezed(a) for a in (*arguments, text(tree, arguments[-1])))
    ):
        arguments.append("uvicorn")  # what serves such an application
    pip = f"{VENV_PYTHON} -m pip install --disable-pip-version-check {shlex.join(arguments)}"
    body = python_note(wanted.python, wanted.where) if wanted.python else ""
    outer = " --system-site-packages" if wanted.implied else ""
    body += f"test -x .venv/bin/pip || python3 -m venv --clear{outer} .venv || exit; "
    own = [*(("src",) if any(name.endswith(("/", ".py")) for name in tree.names("src")) else ()), *wanted.folders]
    if own:
        lines = " ".join(f'"$PWD"/{shlex.quote(folder)}' for folder in own)
        body += f'for s in .venv/lib/python3*/site-packages; do printf "%s\\n" {lines} > "$s/workspace.pth"; done; '
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


def has_own_packages(read: Reader) -> bool:
    """Whether more than the imports of its programs says which packages a tree needs."""
    wanted = wanted_of(read)
    return wanted is not None and not wanted.implied


def has_manifest(read: Reader) -> bool:
    """Whether a folder says itself which packages it needs."""
    return any(read(name) is not None for name in (*_MANIFESTS, "package.json"))
