"""Apps in folders below a top that is none itself: ``my-app/``, ``frontend/`` and ``backend/``, ``apps/web`` and ``apps/api``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace

from runner_agent.detect import packages
from runner_agent.detect.plan import NoCommandError, Plan
from runner_agent.detect.python_install import VENV_PYTHON, has_own_packages
from runner_agent.detect.reading import Reader, below, folders, text

_FOLDERS = 40
"""That are looked into."""
_FRONT = ("web", "frontend", "front", "client", "app", "www", "site", "ui", "dashboard", "webapp")
_BACK = ("api", "server", "backend", "back", "service")
"""Names of the folders that are meant first where there are several of a kind."""

Inside = tuple[str, Plan]
"""A folder, and the plan of its app as seen from inside."""
Find = Callable[[Reader, int], Plan | None]
"""The plan of a tree by itself; NoCommandError."""


def apps_inside(read: Reader, port: int, find: Find) -> list[Inside]:
    """Folders below the top, two levels deep, with an app of their own; those with nothing but pages only where that is all."""
    found: list[Inside] = []
    looked = 0
    for folder in folders(read):
        for each in [folder, *(f"{folder}/{name}" for name in folders(read, folder))]:
            looked += 1
            if looked > _FOLDERS or (each != folder and found and found[-1][0] == folder and not _is_pages(found[-1])):
                break
            try:
                plan = find(below(read, each), port)
            except NoCommandError:
                continue
            if plan is not None:
                found.append((each, plan))
    apps = [each for each in found if not _is_pages(each)]
    return apps or [each for each in found if not any(each[0].startswith(f"{folder}/") for folder, _ in found)]


def _is_pages(app: Inside) -> bool:
    return app[1].framework == "static"


def plan_inside(read: Reader, port: int, find: Find) -> Plan | None:
    """The only app below the top, or the only front end together with the one server beside it. Names decide between several."""
    apps = apps_inside(read, port, find)
    front = _meant([each for each in apps if each[1].reloads and not _is_pages(each)], _FRONT)
    back = _meant([each for each in apps if not each[1].reloads], _BACK)
    if len(apps) == 1:
        return _inside(read, *apps[0])
    if front is not None and back is not None:
        return _both(read, front, back, find)
    if front is not None and all(each[1].reloads for each in apps):
        return _inside(read, *front)
    return None


def _meant(apps: Sequence[Inside], names: Sequence[str]) -> Inside | None:
    if len(apps) == 1:
        return apps[0]
    named = [each for name in names for each in apps if each[0].rpartition("/")[2] == name]
    return named[0] if named else None


def _inside(read: Reader, folder: str, plan: Plan) -> Plan:
    run = ("sh", "-c", f'{_path(read)}cd {shlex.quote(folder)} && exec "$0" "$@"', *_with_packages(read, folder, plan.command))
    return replace(
        plan, command=run, restart_below=_below(folder, plan), shown=f"{plan.shown or shlex.join(plan.command)} (in {folder})"
    )


def _path(read: Reader) -> str:
    """Programs that a workspace installs at its top."""
    return 'export PATH="$PWD/node_modules/.bin:$PATH"; ' if read("package.json") is not None else ""


def _with_packages(read: Reader, folder: str, command: Sequence[str]) -> tuple[str, ...]:
    """Python finds the packages that the top lists, where the folder lists none of its own."""
    if not has_own_packages(read) or has_own_packages(below(read, folder)):
        return tuple(command)
    python = "/".join([".."] * len(folder.split("/"))) + f"/{VENV_PYTHON}"
    return tuple(python if word in ("python3", VENV_PYTHON) else word for word in command)


def _below(folder: str, plan: Plan) -> tuple[str, ...]:
    if not plan.restart_suffixes:
        return ()
    return tuple(f"{folder}/{path}" for path in plan.restart_below) or (f"{folder}/",)


def _both(read: Reader, front: Inside, back: Inside, find: Find) -> Plan:
    """Both in one process: the front end has the port, the server gets the one that the front end's proxy asks, else 8000."""
    port = _proxied(below(read, front[0]))
    server = find(below(read, back[0]), port)
    assert server is not None
    serve = shlex.join(_with_packages(read, back[0], server.command))
    in_back = f"(cd {shlex.quote(back[0])} && exec env PORT={port} {serve}) & "
    in_front = f"cd {shlex.quote(front[0])} && exec {shlex.join(front[1].command)}"
    return replace(
        front[1],
        command=("sh", "-c", _path(read) + in_back + in_front),
        restart_suffixes=server.restart_suffixes,
        restart_below=_below(back[0], server),
        shown=f"{front[1].shown or shlex.join(front[1].command)} (in {front[0]}), "
        f"{server.shown or shlex.join(server.command)} (in {back[0]}, port {port})",
    )


def _proxied(read: Reader) -> int:
    """Port of the server that a front end's configuration or sources name."""
    package = packages.package_at(read, "")
    said = str(package.json.get("proxy", "")) if package is not None else ""
    names = [name for name in read.names("") if re.match(r"(vite|next|nuxt|astro|vue|webpack)\.config\.|proxy\.conf|\.env", name)]
    names += [f"src/{name}" for name in read.names("src") if name.endswith((".js", ".ts", ".jsx", ".tsx"))]
    for content in (said, *(text(read, name) for name in names[:30])):
        if match := re.search(r"(?:localhost|127\.0\.0\.1):(\d{4,5})", content):
            return int(match[1])
    return 8000
