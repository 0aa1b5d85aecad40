"""Scripts that run several programs at once: ``a & b``, ``concurrently``, ``run-p``, turbo, lerna, ``pnpm -r``.

One of them is the web and is told the port; PORT, which all would read, is taken from the others.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import pairwise

from runner_agent.detect import packages
from runner_agent.detect.aiming import Aim, Aimed, Context
from runner_agent.detect.packages import Package
from runner_agent.detect.shell import Command, Word, joined, words

_ALONE = "env -u PORT "


def _best(parts: Sequence[Aimed]) -> int:
    """Index of the one that is the web: the first of the highest rank."""
    return max(range(len(parts)), key=lambda i: (parts[i].rank, -i))


def _together(parts: Sequence[Aimed], chosen: int, text: str, port: int | None) -> Aimed:
    """``text`` runs all of ``parts``. Their sources restart all, except those that the chosen one sees by itself."""
    best = parts[chosen]
    alone = _ALONE if best.appended != () and best.rank == 3 and port is not None else ""
    loads = {suffix for part in parts for suffix in part.loads_once}
    concerned = [path for part in parts if part.loads_once for path in part.below]
    env = {key: value for part in parts for key, value in part.env.items()}
    return replace(
        best,
        text=alone + text,
        appended=None if alone or best.appended != () else (),
        env=env,
        loads_once=tuple(sorted(loads)),
        below=tuple(dict.fromkeys(concerned)),
    )


def _unchanged(part: Aimed, script: str) -> Aimed:
    """A part beside the web keeps its own reloader: our restart would end the web with it."""
    return replace(part, loads_once=()) if part.text != script and part.appended is None else part


def _beside(script: str, web: Aimed, port: int | None) -> str:
    """A script that waits for the web, or names it, at the port that the web had before it was told another."""
    if port is None or not web.own_port or web.appended == ():
        return script
    return re.sub(rf"(?<=[:=]){web.own_port}(?!\d)", str(port), script)


def _awaited(parts: Sequence[Aimed], chosen: int, scripts: Sequence[str], port: int | None) -> bool:
    """Whether another one waits for the web at its own port, in a script further down: then the web stays there."""
    web = parts[chosen]
    return any(
        web.own_port in part.waits_for and _beside(script, web, port) == script
        for i, (part, script) in enumerate(zip(parts, scripts, strict=True))
        if i != chosen
    )


def side_by_side(
    script: str, commands: Sequence[Command], at: Context, aim_command: Callable[[Command, Context], Aimed]
) -> Aimed:
    """``a & b``."""
    parts = [_unchanged(aim_command(command, at), joined(command.words)) for command in commands]
    chosen = _best(parts)
    web = parts[chosen]
    if web.appended is None and web.rank < 3:
        return replace(_together(parts, chosen, script, None), appended=())
    told = web.appended != ()
    texts = [web.text if i == chosen else _beside(joined(each.words), web, at.port) for i, each in enumerate(commands)]
    text = " ".join(
        each + (f" {command.separator}" if command.separator else "") for each, command in zip(texts, commands, strict=True)
    )
    alone = "unset PORT; " if told and at.port is not None else ""
    return replace(_together(parts, chosen, text, None), text=alone + text, appended=None if told else ())


_CONCURRENTLY_VALUES = {
    "-n",
    "--names",
    "--name-separator",
    "-c",
    "--prefix-colors",
    "-p",
    "--prefix",
    "-l",
    "--prefix-length",
    "-t",
    "--timestamp-format",
    "-s",
    "--success",
    "--restart-tries",
    "--restart-after",
    "-m",
    "--max-processes",
    "--hide",
    "--default-input-target",
    "--ks",
    "--kill-signal",
    "--kill-timeout",
    "--cwd",
    "--teardown",
}


def concurrently(command: Command, before: Sequence[Word], rest: Sequence[Word], at: Context, aim: Aim) -> Aimed:
    head: list[Word] = [rest[0]]
    scripts: list[str] = []
    index = 1
    while index < len(rest):
        word = rest[index]
        if word.value.startswith("-"):
            takes = word.value in _CONCURRENTLY_VALUES
            head += rest[index : index + 1 + takes]
            index += 1 + takes
            continue
        scripts += _expanded(word.value, at.package)
        index += 1
    if not scripts:
        return Aimed(joined(command.words))
    parts = [_unchanged(aim(script, at), script) for script in scripts]
    chosen = _best(parts)
    web = parts[chosen]
    stays = (web.appended is None and web.rank < 3) or _awaited(parts, chosen, scripts, at.port)
    texts = scripts if stays else [_beside(script, web, at.port) for script in scripts]
    texts = [web.text if i == chosen and not stays else script for i, script in enumerate(texts)]
    return _together(parts, chosen, joined([*before, *head, *words(texts)]), at.port)


def _expanded(script: str, package: Package) -> list[str]:
    """``npm:dev:*`` and ``npm:dev`` of concurrently as scripts."""
    match = re.fullmatch(r"(npm|pnpm|yarn|bun):(\S+)(.*)", script)
    if match is None:
        return [script]
    manager, name, arguments = match.groups()
    found = [each for each in package.scripts if fnmatchcase(each, name)] if "*" in name else [name]
    return [f"{manager} run {each}{arguments}" for each in found]


def run_all(command: Command, before: Sequence[Word], rest: Sequence[Word], at: Context, aim: Aim) -> Aimed:
    """``run-p a b``, ``npm-run-all -p a b``, and in sequence ``run-s a b``."""
    values = [word.value for word in rest]
    names = [
        found
        for value in values[1:]
        if not value.startswith("-")
        for found in ([each for each in at.package.scripts if _glob(each, value)] if "*" in value else [value])
    ]
    if not names or any(name not in at.package.scripts for name in names):
        return Aimed(joined(command.words))
    parts = [_unchanged(aim(at.package.scripts[name], at.of(at.package)), at.package.scripts[name]) for name in names]
    in_turn = values[0] == "run-s" or (values[0].startswith("npm-run-all") and {"-p", "--parallel", "-lp"}.isdisjoint(values))
    chosen = len(parts) - 1 if in_turn else _best(parts)
    if parts[chosen].appended is None or _awaited(parts, chosen, [""] * len(parts), at.port):
        return replace(_together(parts, chosen, joined(command.words), None), appended=())
    flags = [word for word in rest[1:] if word.value.startswith("-")]
    called = [
        f"{name} -- {shlex.join(part.appended or ())}" if i == chosen and part.appended else name
        for i, (name, part) in enumerate(zip(names, parts, strict=True))
    ]
    return _together(parts, chosen, joined([*before, rest[0], *flags, *words(called)]), at.port)


def _glob(name: str, pattern: str) -> bool:
    """npm-run-all's patterns: ``*`` stays within one part of a name divided by colons, ``**`` does not."""
    expression = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^:]*")
    return re.fullmatch(expression, name) is not None


# One script in all workspaces

_Run = Callable[[Package, bool], str]
"""How the script is run in one workspace; with True, arguments of the script may follow."""


_FILTERS = ("--filter", "-F", "--scope", "--include")


def everywhere(values: Sequence[str], at: Context, aim: Aim) -> Aimed | None:
    """One script in all workspaces; None for a command that is none of those."""
    found = _of_all(values)
    if found is None:
        return None
    name, one = found
    filters = [
        values[i + 1] if "=" not in word and i + 1 < len(values) else word.partition("=")[2]
        for i, word in enumerate(values)
        if word.partition("=")[0] in _FILTERS
    ]
    members = [each for each in packages.workspaces(at.read) if name in each.scripts]
    members = [each for each in members if not filters or any(_is_meant(each, f) for f in filters)]
    if not members:
        return None
    parts = [aim(each.scripts[name], at.of(each)) for each in members]
    chosen = _best(parts)
    concerned = [path for part in parts if part.loads_once for path in part.below]
    loads = {suffix for part in parts for suffix in part.loads_once}
    best = replace(parts[chosen], loads_once=tuple(sorted(loads)), below=tuple(dict.fromkeys(concerned)))
    if not best.appended or at.port is None:
        return replace(best, text=shlex.join(values), appended=())
    web = one(members[chosen], True) + " " + shlex.join(best.appended)
    others = [f"{_ALONE}{one(each, False)} & " for i, each in enumerate(members) if i != chosen and parts[i].rank]
    return replace(best, text="".join(others) + web, appended=None)


def _is_meant(member: Package, asked: str) -> bool:
    """By name or folder, also with ``*`` (``@app/*``, ``./apps/**``)."""
    plain = asked.strip("{}").removesuffix("...").removeprefix("./")
    return any(fnmatchcase(each, plain.replace("**", "*")) for each in (member.name, member.folder) if each)


def _of_all(values: Sequence[str]) -> tuple[str, _Run] | None:
    """Name of the script, and how it is run in one workspace."""
    said = [value for last, value in pairwise(values) if not value.startswith("-") and last not in _FILTERS]
    tool, first = values[0], said[0] if said else ""
    runs = first in ("run", "run-script")
    name = said[1] if runs and len(said) > 1 else first
    if tool == "turbo" and said:
        return name, lambda each, more: f"turbo run {name} --filter={each.name}" + " --" * more
    if tool == "lerna" and runs and len(said) > 1:
        return name, lambda each, more: f"lerna run {name} --stream --scope={each.name}" + " --" * more
    if tool == "pnpm" and said and not {"-r", "--recursive", "--parallel", "recursive"}.isdisjoint(values):
        called = name if first != "recursive" else said[2] if said[1:2] == ["run"] and len(said) > 2 else ""
        return (called, lambda each, more: f"pnpm --filter {each.name or './' + each.folder} run {called}") if called else None
    if tool == "npm" and runs and len(said) > 1 and not {"-ws", "--workspaces"}.isdisjoint(values):
        return name, lambda each, more: f"npm run {name} -w {each.folder}" + " --" * more
    if tool == "yarn" and first in ("workspaces", "wsrun") and "run" in said[1:-1]:  # yarn 1, and `foreach` of later ones
        last = said[said.index("run") + 1]
        return last, lambda each, more: f"yarn workspace {each.name} run {last}"
    if tool == "bun" and said and any(value.partition("=")[0] in ("--filter", "-F") for value in values):
        last = said[-1]
        return last, lambda each, more: f"bun run --cwd {each.folder} {last}"
    return None
