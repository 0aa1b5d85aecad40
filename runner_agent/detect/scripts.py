"""What a script of package.json comes down to: through nested scripts, workspaces, ``concurrently`` and the like, to the
program that serves.

The result is the script's text with what that program needs to serve on the wanted port. Where a script is not understood, its
text is what it was.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace

from runner_agent.detect import packages, shell
from runner_agent.detect.aiming import Aimed, Context
from runner_agent.detect.calls import called, inside, script_called
from runner_agent.detect.imports import sources_of
from runner_agent.detect.packages import Package
from runner_agent.detect.programs import Program, program_of, unwrapped
from runner_agent.detect.reading import Reader, below, text
from runner_agent.detect.several import concurrently, everywhere, run_all, side_by_side
from runner_agent.detect.shell import Command, Word, joined, words
from runner_agent.detect.tools import usual_port

_DEPTH = 8
"""Scripts that call scripts; more is a circle."""
_WORK = re.compile(
    r"tsc|tsup|vue-tsc|rimraf|rm|mkdir|cp|cpx|echo|eslint|prettier|biome|jest|vitest|mocha|ava|playwright|"
    r"cypress|prisma|drizzle-kit|"
    r"husky|lint-staged|postcss|sass|tailwindcss|esbuild|rollup|svelte-check|copyfiles|test|true|false|exit|changeset|tsc-alias|"
    r"swc|babel|terser|cross-port-killer|kill-port|wait-on|sleep|npm-check|ncu|vite|next|nuxt|nuxi|astro|ng|"
    r"react-router|webpack|parcel|docker|docker-compose|podman|vagrant|tilt|skaffold|electron|electron-forge|electron-builder|"
    r"react-native|tauri|cap"
).fullmatch
"""Programs that do some work and end, unless they were recognised as serving; and those that a sandbox cannot run."""
_BUILDS = re.compile("esbuild|rollup|webpack|parcel|sass|tailwindcss|postcss|vite|next|nuxt|nuxi|astro|ng|react-router").fullmatch
"""Programs that make files of all kinds for another program, as everything does that is told to ``build``. A compiler, such as
``tsc``, reads nothing but what the program of its files counts as source."""


def aimed(script: str, at: Context) -> Aimed:
    """The script of ``at.package``, told to serve on the port."""
    commands = shell.parse(script)
    if not commands or at.depth > _DEPTH or any(command.separator == "||" for command in commands):
        return Aimed(script)
    pipe = next((i for i, command in enumerate(commands) if command.separator == "|"), None)
    if pipe is not None:
        return _piped(script, commands[: pipe + 1], commands[pipe + 1 :], at)
    if any(command.separator == "&" for command in commands[:-1]):
        return side_by_side(script, commands, at, _aimed_command)
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
    best = replace(
        best, builds=any(each.builds for each in results), waits_for=frozenset[int]().union(*(each.waits_for for each in results))
    )
    if best.appended is not None and (chosen == len(results) - 1 or not best.appended):
        return replace(best, text=" ".join([script, *map(shlex.quote, best.appended)]) if best.appended else script)
    parts = [results[i].text if i == chosen else joined(command.words) for i, command in enumerate(commands)]
    line = " ".join(
        part + (f" {command.separator}" if command.separator else "") for part, command in zip(parts, commands, strict=True)
    )
    return replace(best, text=line, appended=None)


def _piped(script: str, writes: Sequence[Command], reads: Sequence[Command], at: Context) -> Aimed:
    """``node server.js | pino-pretty``: the first program is the one that matters."""
    if any(command.separator not in ("|", "") for command in reads) or not reads:
        return Aimed(script)
    left = " ".join(joined(command.words) + (f" {command.separator}" if command.separator != "|" else "") for command in writes)
    found = aimed(left, at)
    if found.appended == ():
        return replace(found, text=script)
    return replace(found, text=" | ".join([found.text, *(joined(command.words) for command in reads)]), appended=None)


def aimed_by_name(name: str, at: Context) -> Aimed:
    """The script of that name, which runs behind its ``pre`` script."""
    scripts = at.package.scripts
    found = aimed(scripts[name], at)
    return found.after([aimed(scripts[f"pre{name}"], replace(at, port=None))]) if f"pre{name}" in scripts else found


def ends(script: str, at: Context) -> bool:
    """Whether a script only does some work, such as a build."""
    return aimed(script, at).rank == 0


_USUAL = ("dev", "start:dev", "develop", "", "serve", "start", "server", "web", "local", "watch", "app")
"""Names of scripts that serve, in the order in which they are asked; "" stands for ``dev:…``."""
_OTHER = re.compile(
    r"(pre|post)(?=dev|start|build|serve|install|test)|.*\b(build|test|e2e|lint|format|check|deploy|release|publish|prepare|clean|"
    r"seed|migrate|typecheck|generate|docker|ios|android|electron|tauri|desktop|install|coverage)\b"
).match
"""Names of scripts that do not, whatever they run."""
_LAST = re.compile(r".*\b(storybook|docs|preview|prod|production|mock|proxy|cosmos|bench)\b").match


def chosen_script(package: Package, at: Context) -> str | None:
    """Name of the script that serves: by what people call it, else any that runs a known server; one that builds is none."""
    names = list(package.scripts)
    developing = sorted(name for name in names if re.fullmatch(r"dev[:.-]\w+", name))
    usual = [name for each in _USUAL for name in ([each] if each else developing)]
    others = sorted((name for name in names if not _OTHER(name)), key=lambda name: bool(_LAST(name)))
    there = {name: aimed_by_name(name, at.of(package)) for name in dict.fromkeys([*usual, *others]) if name in package.scripts}
    # an unknown program serves only by the name of its script
    serving = [name for name, found in there.items() if found.rank > (0 if name in usual[: usual.index("start") + 1] else 1)]
    serving.sort(key=lambda name: there[name].shows_build)
    return serving[0] if serving else None


def _is_unbuilt(program: Program, at: Context) -> bool:
    """Whether it runs a file that a build has to make first: ``node dist/index.js`` of a tree without dist."""
    entry = program.entry
    if not program.loads_once or not re.match(r"(dist|build|out|lib|output|\.output)/", entry):
        return False
    read = below(at.read, at.package.folder)
    return all(read(path) is None for path in (entry, f"{entry}.js", f"{entry}/index.js"))


def _moved(command: Command, package: Package, read: Reader) -> Package | None:
    """The package that ``cd folder`` leads to."""
    values = [word.value for word in command.words]
    if values[0] != "cd" or len(values) != 2:
        return None
    folder = inside(package.folder, values[1])
    return None if folder is None else packages.package_at(read, folder) or Package(folder, {})


def _aimed_command(command: Command, at: Context) -> Aimed:
    before, rest = unwrapped(command.words)
    if not rest:
        return Aimed(joined(command.words), (), 0)
    values = [word.value for word in rest]
    if values[0] == "cross-env-shell" and len(values) > 1:
        return _inner_shell(command, before, rest, at)
    several = everywhere(values, at, aimed)
    if several is not None:
        return several
    call = called(values, at)
    if call is not None:
        return script_called(command, call, at, aimed_by_name)
    if values[0] == "concurrently":
        return concurrently(command, before, rest, at, aimed)
    if values[0] in ("run-p", "npm-run-all", "npm-run-all2", "run-s"):
        return run_all(command, before, rest, at, aimed)
    return _of_program(program_of(command, below(at.read, at.package.folder), at.port), command, at)


def _of_program(program: Program, command: Command, at: Context) -> Aimed:
    if not program.served:
        said = {word.value.partition("=")[0] for word in program.words}
        rank = 0 if _WORK(program.name) and not said & {"--serve", "--servedir"} else 1
        if program.name in ("rollup", "node") and said & {"--watch", "-w"}:
            rank = 1  # its plugins may serve
        builds = ("build" in said or (rank == 0 and _BUILDS(program.name) is not None)) and not said & {
            "--noEmit",
            "--watch",
            "-w",
        }
        waits_for = _ports(program) if program.name == "wait-on" else frozenset()
        return Aimed(joined(command.words), (), rank, waits_for=waits_for, builds=builds)
    front = bool(program.flags) and (program.reloads or program.shows_build)
    concerned = sources_of(at.read, at.package.folder, program) if program.loads_once else ()
    own = _own_port(command, program, at)
    known = (
        program.tool,
        program.env,
        program.loads_once,
        program.reloads,
        concerned,
        own,
        frozenset[int](),
        program.shows_build or _is_unbuilt(program, at),
    )
    if program.changed:
        return Aimed(program.text, None, 3 if front else 2, *known)
    line = " ".join([joined(command.words), *map(shlex.quote, program.flags)])
    rank = 3 if front or program.tool in ("react-scripts", "nest", "remix") else 2
    return Aimed(line, program.flags, rank, *known)


def _own_port(command: Command, program: Program, at: Context) -> int:
    """Where the program would serve if nobody told it: by its flags, by Vite's configuration, or by what it is known for."""
    if match := re.search(r"(?:--port|-p)[ =](\d{2,5})\b", " ".join(word.value for word in command.words)):
        return int(match[1])
    read = below(at.read, at.package.folder)
    for name in ("vite.config.ts", "vite.config.js", "vite.config.mjs") if usual_port(program.tool) == 5173 else ():
        if match := re.search(r"\bport:\s*(\d{2,5})\b", text(read, name)):
            return int(match[1])
    return usual_port(program.tool)


def _ports(program: Program) -> frozenset[int]:
    return frozenset(int(port) for word in program.words for port in re.findall(r"[:=](\d{2,5})\b", word.value)[:5])


def _inner_shell(command: Command, before: Sequence[Word], rest: Sequence[Word], at: Context) -> Aimed:
    variables = [word for word in rest[1:] if "=" in word.value and word.value.partition("=")[0].isidentifier()]
    script = rest[1 + len(variables) :]
    if len(script) != 1:
        return Aimed(joined(command.words))
    inner = aimed(script[0].value, at)
    return replace(
        inner, text=joined([*before, rest[0], *variables, *words([inner.text])]), appended=None if inner.appended != () else ()
    )
