"""The choice among all that a tree may hold."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence
from dataclasses import replace

from runner_agent.detect import packages
from runner_agent.detect.install import Install
from runner_agent.detect.languages import language_of, language_plan, language_program
from runner_agent.detect.node import declared_plan, node_plan
from runner_agent.detect.node_install import node_install
from runner_agent.detect.plan import NoCommandError, Plan, variables
from runner_agent.detect.python import ENTRIES, python_plan
from runner_agent.detect.python_install import python_install
from runner_agent.detect.reading import Reader, below, folders, json_object, text

_STATIC = "/opt/sandbox/static_server.py"
_INNER_FOLDERS = 40
"""Of the top that are looked into when it holds no app itself."""


def plan(read: Reader, command: Sequence[str] | None, port: int, programs: Collection[str] = ()) -> Plan:
    """For a tree, the runner's own ``command`` (None: find one) and the port the app shall listen on. NoCommandError.

    ``programs`` are those that the image is known to have beside Node's and Python's (:func:`wanted_program`).
    """
    if command:
        return declared_plan(read, command, port)
    found = _at_the_top(read, port, programs) or _one_folder_down(read, port)
    if found is not None:
        return found
    raise _nothing_found(read)


def declared(command: Sequence[str], read: Reader) -> Plan:
    """The plan of a command that somebody gave to a process without a port."""
    return declared_plan(read, command, None)


def installs(read: Reader) -> tuple[Install, ...]:
    """What must be installed before anything of this tree runs, for each language and folder, in that order."""
    inner = [folder for folder, _ in _apps_inside(read, 1)] if not _is_app(read) else _called_folders(read)
    members = {member.folder for member in packages.workspaces(read)}
    found = []
    for folder in ("", *inner):
        if folder not in members:
            found.append(node_install(read, folder))
        found.append(python_install(read, folder))
    # one that the root's own scripts and processes use: `api/requirements.txt` beside a package.json
    if read("package.json") is not None and python_install(read) is None:
        found += [python_install(read, folder) for folder in _with_python(read)[:2] if folder not in inner]
    return tuple(each for each in found if each is not None)


def wanted_program(read: Reader) -> str | None:
    """The program that the tree's project needs and not every image has, such as ``go``."""
    return language_program(read)


def _at_the_top(read: Reader, port: int, programs: Collection[str] = ()) -> Plan | None:
    if read("manage.py") is not None and (found := python_plan(read, port)) is not None:
        return found
    found = node_plan(read, port) or python_plan(read, port) or _procfile(read, port)
    if found is None and (program := language_program(read)) is not None:
        return language_plan(read, port) if program in programs else None
    return found or static_plan(read, port)


def _is_app(read: Reader) -> bool:
    try:
        return _at_the_top(read, 1) is not None
    except NoCommandError:
        return True


def static_plan(read: Reader, port: int) -> Plan | None:
    folder = next(
        (
            name
            for name in ("", "public", "src", "www", "site", "html", "docs")
            if read(f"{name}/index.html".lstrip("/")) is not None
        ),
        None,
    )
    if folder is None:
        return None
    serve = (
        f'if [ -e {_STATIC} ] && command -v python3 >/dev/null; then exec python3 {_STATIC} "$0" "$1"; fi; '
        'command -v python3 >/dev/null && exec python3 -m http.server "$0" --bind 0.0.0.0 --directory "$1"; '
        'command -v npx >/dev/null && exec npx --yes serve -l "$0" "$1"; '
        'echo "this image has neither python3 nor npx to serve a folder with: choose another image, or a command" >&2; exit 127'
    )
    return Plan(("sh", "-c", serve, str(port), folder or "."), variables(port), (), True, "static", f"serve {folder or '.'}")


def _procfile(read: Reader, port: int) -> Plan | None:
    match = re.search(r"^web:\s*(.+)$", text(read, "Procfile"), re.MULTILINE)
    if match is None:
        return None
    found = declared_plan(read, ("sh", "-c", match[1].strip()), port)
    return replace(found, shown=match[1].strip())


# One folder down


def _apps_inside(read: Reader, port: int) -> list[tuple[str, Plan]]:
    """Folders directly below the top with an app of their own, and its plan as seen from inside."""
    found = []
    for folder in folders(read)[:_INNER_FOLDERS]:
        inner = below(read, folder)
        try:
            plan = _at_the_top(inner, port)
        except NoCommandError:
            continue
        if plan is not None:
            found.append((folder, plan))
    apps = [each for each in found if each[1].framework != "static"]
    return apps or found


def _one_folder_down(read: Reader, port: int) -> Plan | None:
    """The only app below the top; or a front end together with the one server beside it."""
    apps = _apps_inside(read, port)
    if len(apps) == 1:
        folder, plan = apps[0]
        return _inside(folder, plan)
    front = [each for each in apps if each[1].reloads and each[1].framework != "static"]
    if len(apps) == 2 and len(front) == 1:
        back = next(each for each in apps if each is not front[0])
        return _both(read, front[0], back)
    return None


def _inside(folder: str, plan: Plan) -> Plan:
    run = ("sh", "-c", f'cd {shlex.quote(folder)} && exec "$0" "$@"', *plan.command)
    return replace(
        plan, command=run, restart_below=_below(folder, plan), shown=f"{plan.shown or shlex.join(plan.command)} (in {folder})"
    )


def _below(folder: str, plan: Plan) -> tuple[str, ...]:
    if not plan.restart_suffixes:
        return ()
    return tuple(f"{folder}/{path}" for path in plan.restart_below) or (f"{folder}/",)


def _both(read: Reader, front: tuple[str, Plan], back: tuple[str, Plan]) -> Plan:
    """Both in one process: the front end has the port, the server gets the one that the front end's proxy asks, else 8000."""
    port = _proxied(below(read, front[0]))
    server = _at_the_top(below(read, back[0]), port)
    assert server is not None
    in_back = f"(cd {shlex.quote(back[0])} && exec env PORT={port} {shlex.join(server.command)}) & "
    in_front = f"cd {shlex.quote(front[0])} && exec {shlex.join(front[1].command)}"
    return replace(
        front[1],
        command=("sh", "-c", in_back + in_front),
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


def _called_folders(read: Reader) -> list[str]:
    """Folders with a package.json that the scripts at the top go into: ``cd client && npm start``."""
    package = packages.package_at(read, "")
    scripts = "\n".join(package.scripts.values()) if package is not None else ""
    names = re.findall(r"(?:\bcd|--prefix|-C|--cwd|--dir)[ =]+\.?/?([\w-]+)/?(?=[\s\"'&;]|$)", scripts, re.MULTILINE)
    return [name for name in dict.fromkeys(names) if read(f"{name}/package.json") is not None]


def _with_python(read: Reader) -> list[str]:
    return [
        folder
        for folder in folders(read)[:_INNER_FOLDERS]
        if python_install(read, folder) is not None and read(f"{folder}/requirements.txt")
    ]


# Nothing found


def _nothing_found(read: Reader) -> NoCommandError:
    if (found := language_of(read)) is not None:
        language, file = found
        return NoCommandError(
            f"{file} found: this is a {language.said} project, and this image has no {language.said}",
            language.name,
            "Choose an image that has, and set spec.command",
        )
    if read("package.json") is not None:
        scripts = json_object(read("package.json")).get("scripts")
        only = f" ({', '.join(list(scripts)[:6])} only build or check)" if isinstance(scripts, dict) and scripts else ""
        return NoCommandError(
            f"package.json has neither a dev nor a start script that serves{only}: add one, or set spec.command"
        )
    if apps := _apps_inside(read, 1):
        names, first = [folder for folder, _ in apps], apps[0][1].shown or shlex.join(apps[0][1].command)
        return NoCommandError(
            f"several folders hold an app ({', '.join(names[:6])}), and the top does not say which one the page is: "
            f"set spec.workingDir to /workspace/{names[0]}, or spec.command to: sh -c 'cd {names[0]} && {first}', "
            "and give the others spec.processes",
        )
    for file, words in _NOT_UNDERSTOOD:
        if read(file) is not None:
            return NoCommandError(f"{file} found, {words}; set spec.command")
    return NoCommandError(
        "nothing at the top of the tree says what to run: sync a package.json with a dev or start script, "
        f"one of {', '.join(ENTRIES[:3])}, or an index.html; or set spec.command"
    )


_NOT_UNDERSTOOD = (
    ("environment.yml", "which conda reads and this image does not: write its packages to requirements.txt"),
    ("docker-compose.yml", "but a sandbox runs no containers"),
    ("compose.yaml", "but a sandbox runs no containers"),
    ("Dockerfile", "but a sandbox builds no images"),
    ("Makefile", "but not which target serves"),
    ("pyproject.toml", "but no program beside it that serves"),
    ("requirements.txt", "but no program beside it that serves"),
)
