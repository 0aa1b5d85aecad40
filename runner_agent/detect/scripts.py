"""What a script of package.json comes down to: through nested scripts, workspaces, ``concurrently`` and the like, to the
program that serves.

The result is the script's text with what that program needs to serve on the wanted port. Where a script is not understood, its
text is what it was.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from runner_agent.detect import packages, shell
from runner_agent.detect.imports import sources_of
from runner_agent.detect.packages import Package
from runner_agent.detect.programs import Program, program_of, unwrapped
from runner_agent.detect.reading import Reader, below
from runner_agent.detect.shell import Command, Word, joined, words

_DEPTH = 8
"""Scripts that call scripts; more is a circle."""
_WORK = re.compile(
    r"tsc|tsup|vue-tsc|rimraf|rm|mkdir|cp|cpx|echo|eslint|prettier|biome|jest|vitest|mocha|ava|playwright|"
    r"cypress|prisma|drizzle-kit|"
    r"husky|lint-staged|postcss|sass|tailwindcss|esbuild|rollup|svelte-check|copyfiles|test|true|false|exit|changeset|tsc-alias|"
    r"swc|babel|terser|cross-port-killer|kill-port|wait-on|sleep|npm-check|ncu|vite|next|nuxt|nuxi|astro|ng|"
    r"react-router|webpack|parcel"
).fullmatch
"""Programs that do some work and end, unless they were recognised as serving."""
_BUILDS = re.compile("esbuild|rollup|webpack|parcel|sass|tailwindcss|postcss|vite|next|nuxt|nuxi|astro|ng|react-router").fullmatch
"""Programs that make files of all kinds for another program, as everything does that is told to ``build``. A compiler, such as
``tsc``, reads nothing but what the program of its files counts as source."""
_EVERYTHING = ("",)
"""Suffix of all files: nobody tells what a build reads."""


@dataclass(frozen=True, slots=True)
class Aimed:
    """``text`` is the script to run. ``appended``: what follows the script's own text, where nothing else is changed; None
    otherwise.

    ``rank`` compares programs of one script: 3 is a front end's dev server, 2 another known server, 1 an unknown program, 0
    work that ends.
    ``below``: files or folders whose sources concern it; empty for the whole tree. ``builds``: some of it makes files for
    another program. ``shows_build``: it serves such files.
    """

    text: str
    appended: tuple[str, ...] | None = ()
    rank: int = 1
    tool: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    loads_once: tuple[str, ...] = ()
    reloads: bool = False
    below: tuple[str, ...] = ()
    builds: bool = False
    shows_build: bool = False

    def after(self, earlier: Sequence[Aimed]) -> Aimed:
        """This program behind others: with a build among them, each edit needs them all once more."""
        built = any(other.builds for other in earlier) and not self.reloads
        return replace(self, loads_once=_EVERYTHING, below=()) if built else self


@dataclass(frozen=True, slots=True)
class Context:
    """``package`` is the one whose script is read; ``port`` None when the program's own choice shall stand."""

    read: Reader
    package: Package
    port: int | None
    depth: int = 0

    def of(self, package: Package) -> Context:
        return replace(self, package=package, depth=self.depth + 1)


def aimed(script: str, at: Context) -> Aimed:
    """The script of ``at.package``, told to serve on the port."""
    commands = shell.parse(script)
    if not commands or at.depth > _DEPTH or any(command.separator in ("|", "||") for command in commands):
        return Aimed(script)
    if any(command.separator == "&" for command in commands[:-1]):
        return _side_by_side(script, commands, at)
    package = at.package
    results: list[Aimed] = []
    for command in commands:
        if (moved := _moved(command, package, at.read)) is not None:
            package = moved
            results.append(Aimed(joined(command.words), (), 0))
        else:
            results.append(_aimed_command(command, replace(at, package=package)))
    chosen = max(range(len(results)), key=lambda i: (results[i].rank, i))
    best = results[chosen].after(results[:chosen])
    best = replace(best, builds=any(result.builds for result in results))
    if best.appended is not None and (chosen == len(results) - 1 or not best.appended):
        return replace(best, text=" ".join([script, *map(shlex.quote, best.appended)]) if best.appended else script)
    parts = [results[i].text if i == chosen else joined(command.words) for i, command in enumerate(commands)]
    text = " ".join(
        part + (f" {command.separator}" if command.separator else "") for part, command in zip(parts, commands, strict=True)
    )
    return replace(best, text=text, appended=None)


def aimed_by_name(name: str, at: Context) -> Aimed:
    """The script of that name, which runs behind its ``pre`` script."""
    scripts = at.package.scripts
    found = aimed(scripts[name], at)
    return found.after([aimed(scripts[f"pre{name}"], replace(at, port=None))]) if f"pre{name}" in scripts else found


def ends(script: str, at: Context) -> bool:
    """Whether a script only does some work, such as a build."""
    return aimed(script, at).rank == 0


def chosen_script(package: Package, at: Context) -> str | None:
    """Name of the script that serves, by what people call it; one that only builds is none."""
    names = list(package.scripts)
    order = ["dev", "start:dev", "develop", *sorted(n for n in names if re.fullmatch(r"dev[:.-]\w+", n)), "serve", "start"]
    there = {name: aimed(package.scripts[name], at.of(package)) for name in dict.fromkeys(order) if name in package.scripts}
    serving = [name for name, found in there.items() if found.rank]
    serving.sort(key=lambda name: there[name].shows_build)
    return serving[0] if serving else None


def _moved(command: Command, package: Package, read: Reader) -> Package | None:
    """The package that ``cd folder`` leads to."""
    values = [word.value for word in command.words]
    if values[0] != "cd" or len(values) != 2:
        return None
    folder = _inside(package.folder, values[1])
    return None if folder is None else packages.package_at(read, folder) or Package(folder, {})


def _inside(folder: str, asked: str) -> str | None:
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


def _aimed_command(command: Command, at: Context) -> Aimed:
    before, rest = unwrapped(command.words)
    if not rest:
        return Aimed(joined(command.words), (), 0)
    values = [word.value for word in rest]
    if values[0] == "cross-env-shell" and len(values) > 1:
        return _inner_shell(command, before, rest, at)
    called = _called(values, at)
    if called is not None:
        return _script_called(command, called, at)
    if values[0] == "concurrently":
        return _concurrently(command, before, rest, at)
    if values[0] in ("run-p", "npm-run-all", "npm-run-all2", "run-s"):
        return _run_all(command, before, rest, at)
    several = _several(values, at)
    if several is not None:
        return several
    return _of_program(program_of(command, below(at.read, at.package.folder), at.port), command, at)


def _of_program(program: Program, command: Command, at: Context) -> Aimed:
    if not program.served:
        said = {word.value.partition("=")[0] for word in program.words}
        works = _WORK(program.name) and not {"--watch", "-w", "--serve", "--servedir"} & said
        builds = (_BUILDS(program.name) is not None or "build" in said) and "--noEmit" not in said
        return Aimed(joined(command.words), (), 0 if works else 1, builds=bool(works or "build" in said) and builds)
    front = bool(program.flags) and (program.reloads or program.shows_build)
    concerned = sources_of(at.read, at.package.folder, program) if program.loads_once else ()
    found = Aimed(
        program.text,
        None,
        3 if front else 2,
        program.tool,
        program.env,
        program.loads_once,
        program.reloads,
        concerned,
        shows_build=program.shows_build,
    )
    if program.changed:
        return found
    text = " ".join([joined(command.words), *map(shlex.quote, program.flags)])
    rank = 3 if front or program.tool in ("react-scripts", "nest", "remix") else 2
    return replace(found, text=text, appended=program.flags, rank=rank)


def _inner_shell(command: Command, before: Sequence[Word], rest: Sequence[Word], at: Context) -> Aimed:
    variables = [word for word in rest[1:] if "=" in word.value and word.value.partition("=")[0].isidentifier()]
    script = rest[1 + len(variables) :]
    if len(script) != 1:
        return Aimed(joined(command.words))
    inner = aimed(script[0].value, at)
    return replace(
        inner, text=joined([*before, rest[0], *variables, *words([inner.text])]), appended=None if inner.appended != () else ()
    )


# Scripts of scripts


@dataclass(frozen=True, slots=True)
class _Call:
    package: Package
    script: str
    npm: bool  # its runner wants `--` before arguments of the script
    has_separator: bool


def _called(values: Sequence[str], at: Context) -> _Call | None:
    """The script that ``npm run x -w y`` and its like call; None for anything else."""
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
            folder = _inside(at.package.folder, value if equals else rest.pop(0))
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


def _call(package: Package, name: str, npm: bool, has_separator: bool) -> _Call | None:
    return _Call(package, name, npm, has_separator) if name in package.scripts else None


def _member(asked: str, at: Context) -> Package | None:
    """A workspace by its name, or by its folder; "..." of pnpm's filters means its dependencies too."""
    asked = asked.strip("{}").removesuffix("...").removeprefix("./").rstrip("/")
    return next(
        (each for each in packages.workspaces(at.read) if asked in (each.name, each.folder, each.folder.rpartition("/")[2])), None
    )


def _script_called(command: Command, called: _Call, at: Context) -> Aimed:
    inner = aimed_by_name(called.script, at.of(called.package))
    if inner.appended is not None:
        flags = ("--", *inner.appended) if called.npm and inner.appended and not called.has_separator else inner.appended
        return replace(inner, text=" ".join([joined(command.words), *map(shlex.quote, flags)]), appended=flags)
    steps = [f"npm run pre{called.script}"] if f"pre{called.script}" in called.package.scripts else []
    if called.package.folder != at.package.folder:
        up = "/".join([".."] * len(at.package.folder.split("/"))) if at.package.folder else "."
        folder = f"{up}/{called.package.folder}".removeprefix("./")
        steps = [f"cd {shlex.quote(folder)}", 'PATH="$PWD/node_modules/.bin:$PATH"', *steps]
    text = " && ".join([*steps, inner.text])
    before = [word for word in command.assignments if "$" not in word.raw]
    text = "; ".join([*(f"export {word.raw}" for word in before), text])
    return replace(inner, text=f"({text})" if len(steps) + len(before) else text)


# Several at once


def _best(parts: Sequence[Aimed]) -> int:
    """Index of the one that is the web: the first of the highest rank."""
    return max(range(len(parts)), key=lambda i: (parts[i].rank, -i))


def _together(parts: Sequence[Aimed], chosen: int, text: str, port: int | None) -> Aimed:
    """``text`` runs all of ``parts``. Their sources restart all, except those that the chosen one sees by itself."""
    best = parts[chosen]
    alone = "env -u PORT " if best.appended != () and best.rank == 3 and port is not None else ""
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


def _side_by_side(script: str, commands: Sequence[Command], at: Context) -> Aimed:
    """``a & b``."""
    parts = [_unchanged(_aimed_command(command, at), joined(command.words)) for command in commands]
    chosen = _best(parts)
    if parts[chosen].appended is None:
        return replace(_together(parts, chosen, script, None), appended=())
    alone = "env -u PORT " if parts[chosen].appended and at.port is not None else ""
    texts = [
        parts[i].text
        if i == chosen
        else (alone if command.separator == "&" and "&&" not in script else "") + joined(command.words)
        for i, command in enumerate(commands)
    ]
    text = " ".join(
        each + (f" {command.separator}" if command.separator else "") for each, command in zip(texts, commands, strict=True)
    )
    whole = _together(parts, chosen, text, None)
    return replace(whole, text=text, appended=None if parts[chosen].appended else ())


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


def _concurrently(command: Command, before: Sequence[Word], rest: Sequence[Word], at: Context) -> Aimed:
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
    parts = [_unchanged(aimed(script, at), script) for script in scripts]
    chosen = _best(parts)
    texts = [parts[i].text if i == chosen and parts[i].appended is not None else script for i, script in enumerate(scripts)]
    return _together(parts, chosen, joined([*before, *head, *words(texts)]), at.port)


def _expanded(script: str, package: Package) -> list[str]:
    """``npm:dev:*`` and ``npm:dev`` of concurrently as scripts."""
    match = re.fullmatch(r"(npm|pnpm|yarn|bun):(\S+)(.*)", script)
    if match is None:
        return [script]
    manager, name, arguments = match.groups()
    found = [each for each in package.scripts if fnmatchcase(each, name)] if "*" in name else [name]
    return [f"{manager} run {each}{arguments}" for each in found]


def _run_all(command: Command, before: Sequence[Word], rest: Sequence[Word], at: Context) -> Aimed:
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
    parts = [_unchanged(aimed(at.package.scripts[name], at.of(at.package)), at.package.scripts[name]) for name in names]
    in_turn = values[0] == "run-s" or (values[0].startswith("npm-run-all") and {"-p", "--parallel", "-lp"}.isdisjoint(values))
    chosen = len(parts) - 1 if in_turn else _best(parts)
    if parts[chosen].appended is None:
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


def _several(values: Sequence[str], at: Context) -> Aimed | None:
    """One script in all workspaces: turbo, ``pnpm -r``, ``npm run x --workspaces``."""
    name, one = _everywhere(values)
    if name is None:
        return None
    filters = [
        values[i + 1] if "=" not in word and i + 1 < len(values) else word.partition("=")[2]
        for i, word in enumerate(values)
        if word.partition("=")[0] in ("--filter", "-F")
    ]
    members = [each for each in packages.workspaces(at.read) if name in each.scripts]
    members = [each for each in members if not filters or any(f.strip("{}./") in (each.name, each.folder) for f in filters)]
    if not members:
        return None
    parts = [aimed(each.scripts[name], at.of(each)) for each in members]
    chosen = _best(parts)
    concerned = [path for part in parts if part.loads_once for path in part.below]
    loads = {suffix for part in parts for suffix in part.loads_once}
    best = replace(parts[chosen], loads_once=tuple(sorted(loads)), below=tuple(dict.fromkeys(concerned)))
    if not best.appended or at.port is None:
        return replace(best, text=shlex.join(values), appended=())
    web = one(members[chosen], True) + " " + shlex.join(best.appended)
    others = [f"env -u PORT {one(each, False)} & " for i, each in enumerate(members) if i != chosen and parts[i].rank]
    return replace(best, text="".join(others) + web, appended=None)


def _everywhere(values: Sequence[str]):  # type: ignore[no-untyped-def]
    """Name of the script, and how it is run in one workspace."""
    said = [value for value in values[1:] if not value.startswith("-")]
    if values[0] == "turbo" and said:
        name = said[1] if said[0] == "run" and len(said) > 1 else said[0]
        return name, lambda each, more: f"turbo run {name} --filter={each.name}" + " --" * more
    if values[0] == "pnpm" and not {"-r", "--recursive", "--parallel"}.isdisjoint(values) and said:
        name = said[1] if said[0] in ("run", "run-script") and len(said) > 1 else said[0]
        return name, lambda each, more: f"pnpm --filter {each.name or './' + each.folder} run {name}"
    if values[0] == "npm" and not {"-ws", "--workspaces"}.isdisjoint(values) and len(said) > 1 and said[0] == "run":
        return said[1], lambda each, more: f"npm run {said[1]} -w {each.folder}" + " --" * more
    return None, None
