"""The choice among all that a tree may hold."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence

from runner_agent.detect import packages
from runner_agent.detect.inner import apps_inside, plan_inside
from runner_agent.detect.install import Install
from runner_agent.detect.languages import language_of, language_plan, language_program, serves_pages_itself
from runner_agent.detect.node import declared_plan, node_plan, recipe_plan
from runner_agent.detect.node_install import node_install
from runner_agent.detect.plan import NoCommandError, Plan
from runner_agent.detect.python import ENTRIES, python_plan, site_plan
from runner_agent.detect.python_install import has_own_packages, python_install
from runner_agent.detect.python_site import documents, python_site
from runner_agent.detect.reading import Reader, below, folders, json_object
from runner_agent.detect.static import BESIDE, static_plan

_INNER_FOLDERS = 40
_SITES = ("jupyter", "mkdocs", "pelican", "pyramid", "sphinx", "voila")


def plan(read: Reader, command: Sequence[str] | None, port: int, programs: Collection[str] = ()) -> Plan:
    """For a tree, the runner's own ``command`` (None: find one) and the port the app shall listen on. NoCommandError.

    ``programs`` are those that the image is known to have beside Node's and Python's (:func:`wanted_program`).
    """
    if command:
        return declared_plan(read, command, port)
    found = _at_the_top(read, port, programs)
    if found is None and (inner := plan_inside(read, port, _alone)) is not None:
        # beside another language's manifest, pages are that project's templates
        found = inner if inner.framework != "static" or language_of(read) is None else None
    found = found or _at_last(read, port)
    if found is not None:
        return found
    raise _nothing_found(read)


def declared(command: Sequence[str], read: Reader) -> Plan:
    """The plan of a command that somebody gave to a process without a port."""
    return declared_plan(read, command, None)


def installs(read: Reader) -> tuple[Install, ...]:
    """What must be installed before anything of this tree runs, for each language and folder, in that order."""
    top = _shown(read)
    inner = _called_folders(read) if top is not None else [folder for folder, _ in apps_inside(read, 1, _alone)]
    if top is None and not inner:
        top = _at_last(read, 1)
    members = {member.folder for member in packages.workspaces(read)}
    found = []
    for folder in ("", *inner):
        tree = below(read, folder)
        if folder not in members:
            found.append(node_install(read, folder))
        if not folder or has_own_packages(tree) or not has_own_packages(read):
            shown = _shown(tree) if folder else top
            site = (python_site(tree) or documents(tree)) if shown is not None and shown.framework in _SITES else None
            found.append(python_install(read, folder, site))
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
    language, program = language_of(read), language_program(read)
    if language is not None and serves_pages_itself(read):
        return language_plan(read, port) if program in programs else None
    if (found := node_plan(read, port)) is not None:
        return found
    found = python_plan(read, port)
    if found is None or found.framework == "python":  # a program that is not known to serve
        found = (recipe_plan(read, port) if language is None else None) or found
    elif found.framework == "script":  # not even one that does something when it is run
        found = (recipe_plan(read, port) if language is None else None) or static_plan(read, port, ("",)) or found
    if found is None and program is not None:
        return language_plan(read, port) if program in programs else None
    if found is None and (found := static_plan(read, port, ("",))) is None and (site := python_site(read)) is not None:
        return site_plan(site, port)
    return found


def _alone(read: Reader, port: int) -> Plan | None:
    """What a folder runs by itself, pages in a folder of its own among it."""
    return _at_the_top(read, port) or (static_plan(read, port, BESIDE) if language_of(read) is None else None)


def _at_last(read: Reader, port: int) -> Plan | None:
    """Pages or documents in a folder, where nothing runs."""
    if language_of(read) is not None:
        return None
    found = static_plan(read, port, BESIDE)
    if found is None and (site := documents(read)) is not None:
        return site_plan(site, port)
    return found


def _shown(read: Reader) -> Plan | None:
    """What the top itself runs, whatever its port; an empty plan where its package.json cannot be read."""
    try:
        return _at_the_top(read, 1)
    except NoCommandError:
        return Plan(())


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


def _nothing_found(read: Reader) -> NoCommandError:
    if (found := language_of(read)) is not None:
        language, file = found
        return NoCommandError(
            f"{file} found: this is {_a(language.said)} project, and this image has no {language.said}",
            language.name,
            "Choose an image that has, and set spec.command",
        )
    if read("package.json") is not None:
        scripts = json_object(read("package.json")).get("scripts")
        only = f" ({', '.join(list(scripts)[:6])} only build or check)" if isinstance(scripts, dict) and scripts else ""
        return NoCommandError(
            f"package.json has neither a dev nor a start script that serves{only}: add one, or set spec.command"
        )
    if apps := apps_inside(read, 1, _alone):
        names, first = [folder for folder, _ in apps], apps[0][1].shown or shlex.join(apps[0][1].command)
        return NoCommandError(
            f"several folders hold an app ({', '.join(names[:6])}), and the top does not say which one the page is: "
            f"set spec.workingDir to /workspace/{names[0]}, or spec.command to: sh -c 'cd {names[0]} && {first}', "
            "and give the others spec.processes",
        )
    if notebook := next((name for name in read.names("") if name.endswith(".ipynb")), None):
        return NoCommandError(
            f"{notebook} found, a notebook: write voila to requirements.txt to see it as a page, or jupyterlab to work in it"
        )
    for file, words in _NOT_UNDERSTOOD:
        if read(file) is not None:
            return NoCommandError(f"{file} found, {words}; set spec.command")
    return NoCommandError(
        "nothing at the top of the tree says what to run: sync a package.json with a dev or start script, "
        f"one of {', '.join(ENTRIES[:3])}, or an index.html; or set spec.command"
    )


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'AEIO' or name == 'R' else 'a'} {name}"


_NOT_UNDERSTOOD = (
    ("environment.yml", "which conda reads and this image does not: write its packages to requirements.txt"),
    ("docker-compose.yml", "but a sandbox runs no containers"),
    ("compose.yaml", "but a sandbox runs no containers"),
    ("Dockerfile", "but a sandbox builds no images"),
    ("Makefile", "but not which target serves"),
    ("pyproject.toml", "but no program beside it that serves"),
    ("requirements.txt", "but no program beside it that serves"),
)
