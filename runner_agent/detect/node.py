"""What a package.json says to run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from runner_agent.detect import packages, shell
from runner_agent.detect.aiming import Aimed, Context
from runner_agent.detect.packages import Package
from runner_agent.detect.plan import NoCommandError, Plan, variables
from runner_agent.detect.python_install import python_install
from runner_agent.detect.reading import Reader, json_object
from runner_agent.detect.recipes import recipes
from runner_agent.detect.scripts import aimed, aimed_by_name, chosen_script
from runner_agent.detect.tools import NODE_SOURCES
from runner_agent.detect.unscripted import entry_command, tool_command

TOOLS_PATH = "$HOME/.sandbox/bin"
"""Package managers that projects ask for, on the volume (:mod:`runner_agent.detect.node_install`)."""


def node_plan(read: Reader, port: int) -> Plan | None:
    """None when nothing of Node serves; NoCommandError when package.json cannot be read at all."""
    content = read("package.json")
    if content is None:
        return _entry_plan(read, None, port)
    if wrong := packages.not_json(content):
        raise NoCommandError(f"package.json {wrong}")
    package = Package("", json_object(content))
    context = Context(read, package, port)
    name = chosen_script(package, context)
    if name is not None and not aimed_by_name(name, context).shows_build:
        return script_plan(read, package, name, port)
    if name is not None and (found := _built_first(read, package, name, context)) is not None:
        return found
    if name is None and (found := _entry_plan(read, package, port)) is not None:
        return found
    if (tool := tool_command(read, package)) is not None:
        serves = aimed(tool, context)
        return plan_of(serves, shell_command(read, serves.text, package), port, tool)
    return script_plan(read, package, name, port) if name is not None else None


def _built_first(read: Reader, package: Package, name: str, at: Context) -> Plan | None:
    """For a program that has to be built before it can run, and a script that does so."""
    found = aimed(package.scripts[name], at)
    if not found.loads_once:
        return None
    builds_itself = any(each in package.scripts for each in (f"pre{name}", "prepare"))
    if builds_itself or "build" not in package.scripts:
        return script_plan(read, package, name, at.port)
    manager = packages.manager_of(read)[0]
    text = f"{manager} run build && {manager} run {name}"
    return plan_of(replace(found, appended=()), shell_command(read, text, package), at.port, text)


def _entry_plan(read: Reader, package: Package | None, port: int) -> Plan | None:
    command = entry_command(read, package)
    if command is None:
        return None
    run = command if command[0] == "node" else with_tools(read, command)
    return Plan(run, variables(port), NODE_SOURCES, False, command[0], shlex.join(command))


def script_plan(read: Reader, package: Package, name: str, port: int | None, flags: bool = True) -> Plan:
    """One script by name, run by the project's own package manager where nothing but flags changes."""
    found = aimed_by_name(name, Context(read, package, port if flags else None))
    manager = packages.manager_of(read)[0]
    if found.appended is not None:
        separator = ("--",) if manager == "npm" and found.appended else ()  # a nested npm script takes another for itself
        command: tuple[str, ...] = (manager, "run", name, *separator, *found.appended)
        command = command if manager == "npm" and not packages.called_managers(read) else with_tools(read, command)
    else:
        before = f"npm run pre{name} && " if f"pre{name}" in package.scripts else ""
        command = shell_command(read, before + found.text, package)
    return plan_of(found, command, port, f"{manager} run {name}")


def plan_of(found: Aimed, command: tuple[str, ...], port: int | None, shown: str) -> Plan:
    env = {**variables(None if found.rank == 3 and found.appended != () else port), **found.env}
    below = found.below if found.reloads else ()  # beside a front end, which a restart would end with it
    return Plan(command, env, found.loads_once, found.reloads, found.tool, shown, below)


def shell_command(read: Reader, text: str, package: Package) -> tuple[str, ...]:
    """A script's text with the programs of the project on PATH, and the variables that scripts get from their package manager."""
    if packages.manager_of(read)[0] == "yarn" and packages.plugs_and_plays(read, packages.manager_of(read)[1]):
        return with_tools(read, ("yarn", "exec", "sh", "-c", text))
    commands = shell.parse(text)
    if commands is not None and len(commands) == 1 and not commands[0].separator:
        text = f"exec {'env ' if commands[0].assignments else ''}{text}" if commands[0].words[0].raw != "exec" else text
    version = package.json.get("version")
    names = {"npm_package_name": package.name, "npm_package_version": version if isinstance(version, str) else ""}
    exports = " ".join(f"{key}={shlex.quote(value)}" for key, value in names.items() if value)
    exports = f"export {exports}; " if exports else ""
    return "sh", "-c", f"{path_line(read)}{exports}{text}"


def path_line(read: Reader) -> str:
    """Puts what the project installed on PATH, for a shell in the working directory."""
    venv = "$PWD/.venv/bin:" if has_venv(read) else ""
    return f'export PATH="{venv}$PWD/node_modules/.bin:{TOOLS_PATH}:$PATH"; '


def with_tools(read: Reader, command: Sequence[str]) -> tuple[str, ...]:
    """A command with what the project installed on PATH."""
    return "sh", "-c", f'{path_line(read)}exec "$0" "$@"', *command


def has_venv(read: Reader) -> bool:
    return python_install(read) is not None


def declared_plan(read: Reader, command: Sequence[str], port: int | None) -> Plan:
    """The plan of a command that somebody gave: as given, but for reloaders and for what the project installed on PATH."""
    given = tuple(command)
    shown = shlex.join(given)
    package = packages.package_at(read, "") or Package("", {})
    context = Context(read, package, None)
    script = (
        given[2]
        if len(given) == 3 and given[0] in ("sh", "bash", "/bin/sh", "/bin/bash") and given[1] in ("-c", "-lc", "-ec")
        else None
    )
    found = aimed(script if script is not None else shlex.join(given), context)
    if found.appended != ():
        run = shell_command(read, found.text, package)
    elif script is not None and (has_venv(read) or read("package.json") is not None):
        run = shell_command(read, script, package)
    elif script is None and (wanted := _needs_path(given, read)):
        run = wanted
    else:
        run = given
    return plan_of(found, run, port, shown)


def recipe_plan(read: Reader, port: int) -> Plan | None:
    """The first command of the project's other files that runs a server, told its port."""
    package = packages.package_at(read, "") or Package("", {})
    for recipe in recipes(read):
        found = aimed(recipe.script, Context(read, package, port))
        if found.rank > (0 if recipe.any_program else 1):
            return plan_of(found, shell_command(read, found.text, package), port, f"{recipe.shown} ({recipe.where})")
    return None


def _needs_path(given: tuple[str, ...], read: Reader) -> tuple[str, ...] | None:
    """The command below a shell, when its program is one that the project itself brings."""
    program = given[0]
    if "/" in program:
        return None
    managers = ("pnpm", "yarn", "bun", "bunx") if read("package.json") is not None else ()
    nodes = read("package.json") is not None and program not in ("node", "npm", "npx", "sh", "bash")
    if program in managers or nodes or has_venv(read):
        return with_tools(read, given)
    return None
