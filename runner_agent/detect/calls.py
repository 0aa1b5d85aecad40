"""Scripts that call another script: ``npm run x``, ``yarn workspace y x``, ``pnpm --filter y x``, ``node --run x``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from runner_agent.detect import packages
from runner_agent.detect.aiming import Aim, Aimed, Context
from runner_agent.detect.packages import Package
from runner_agent.detect.shell import Command, joined


@dataclass(frozen=True, slots=True)
class Call:
    package: Package
    script: str
    npm: bool  # its runner wants `--` before arguments of the script
    has_separator: bool


def called(values: Sequence[str], at: Context) -> Call | None:
    """The script that a command's words call; None for anything else."""
    manager, rest = values[0], list(values[1:])
    if manager == "node" and rest[:1] == ["--run"] and len(rest) > 1:
        return _call(at.package, rest[1], True, "--" in rest)
    if manager not in ("npm", "pnpm", "yarn", "bun") or not rest:
        return None
    package: Package | None = at.package
    said: list[str] = []
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if word == "--":
            said.append(word)
            break
        if word == "workspace" and manager == "yarn" and not said and rest:
            package = _member(rest.pop(0), at)
        elif flag in ("-w", "--workspace", "-F", "--filter") and manager != "yarn" and (equals or rest):
            package = _member(value if equals else rest.pop(0), at)
        elif flag in ("--prefix", "-C", "--dir", "--cwd") and (equals or rest):
            folder = inside(at.package.folder, value if equals else rest.pop(0))
            package = packages.package_at(at.read, folder) if folder is not None else None
        elif word in ("--silent", "-s", "--bun", "--if-present", "--quiet"):
            continue
        elif word.startswith("-"):
            return None
        else:
            said.append(word)
    if package is None or not said:
        return None
    runs = said[0] in ("run", "run-script")
    name = said[1] if runs and len(said) > 1 else said[0]
    if not runs and manager == "npm" and name not in ("start", "test"):
        return None
    return _call(package, name, manager == "npm", "--" in said) if len(said) <= 2 + ("--" in said) else None


def inside(folder: str, asked: str) -> str | None:
    """``asked`` as seen from ``folder``; None when it leads out of the tree."""
    parts = folder.split("/") if folder else []
    for part in asked.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return None if asked.startswith("/") else "/".join(parts)


def script_called(command: Command, call: Call, at: Context, aim: Aim) -> Aimed:
    """``command`` calls it: the same command with the flags at its end, or the called script's own text in its place."""
    inner = aim(call.script, at.of(call.package))
    if inner.appended is not None:
        flags = ("--", *inner.appended) if call.npm and inner.appended and not call.has_separator else inner.appended
        return replace(inner, text=" ".join([joined(command.words), *map(shlex.quote, flags)]), appended=flags)
    steps = [f"npm run pre{call.script}"] if f"pre{call.script}" in call.package.scripts else []
    if call.package.folder != at.package.folder:
        up = "/".join([".."] * len(at.package.folder.split("/"))) if at.package.folder else "."
        folder = f"{up}/{call.package.folder}".removeprefix("./")
        steps = [f"cd {shlex.quote(folder)}", 'PATH="$PWD/node_modules/.bin:$PATH"', *steps]
    text = " && ".join([*steps, inner.text])
    before = [word for word in command.assignments if "$" not in word.raw]
    text = "; ".join([*(f"export {word.raw}" for word in before), text])
    return replace(inner, text=f"({text})" if len(steps) + len(before) else text)


def _call(package: Package, name: str, npm: bool, has_separator: bool) -> Call | None:
    return Call(package, name, npm, has_separator) if name in package.scripts else None


def _member(asked: str, at: Context) -> Package | None:
    """A workspace by its name, or by its folder; "..." of pnpm's filters means its dependencies too."""
    asked = asked.strip("{}").removesuffix("...").removeprefix("./").rstrip("/")
    return next(
        (each for each in packages.workspaces(at.read) if asked in (each.name, each.folder, each.folder.rpartition("/")[2])), None
    )
