"""What one simple command runs: the wrappers before the program, and what its program reads once.

A reloader (``node --watch``, ``nodemon``, ``uvicorn --reload``, …) keeps running, silently, over a program that no longer
starts. Where it is understood for sure, the plain program stands in its place: the agent restarts it after a sync, and a
failure is seen as one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runner_agent.detect.reading import Reader, json_object
from runner_agent.detect.shell import Command, Word, joined, words
from runner_agent.detect.tools import NODE_SOURCES, PYTHON_SOURCES, tool_of

_TS = (*NODE_SOURCES, ".yaml", ".yml")
_INTERPRETERS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("node", "pm2-runtime"), NODE_SOURCES),
    **dict.fromkeys(("tsx", "ts-node", "ts-node-esm", "swc-node", "babel-node", "vite-node", "esrun", "jiti", "esno"), _TS),
    "php": (),  # reads each file anew for each request
    **dict.fromkeys(("ruby", "rackup", "puma", "bundle", "rails"), (".rb", ".ru", ".erb", ".haml", ".slim", ".yml")),
    "perl": (".pl", ".pm", ".ep"),
    "java": (".java", ".properties", ".yml", ".html"),
    **dict.fromkeys(
        ("mvn", "./mvnw", "gradle", "./gradlew"), (".java", ".kt", ".xml", ".gradle", ".kts", ".properties", ".yml", ".html")
    ),
    "lua": (".lua",),
    "elixir": (".ex", ".exs"),
}
_BUILT: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("go", "run"): (".go", ".mod", ".sum", ".html", ".tmpl", ".gohtml"),
    ("cargo", "run"): (".rs", ".toml", ".html"),
    ("dotnet", "run"): (".cs", ".fs", ".csproj", ".fsproj", ".razor", ".cshtml", ".json"),
    ("swift", "run"): (".swift", ".leaf"),
    ("mix", "run"): (".ex", ".exs"),
    ("deno", "run"): _TS,
    ("deno", "serve"): _TS,
    ("bun", "run"): _TS,
}
_WATCH_FLAGS = ("--watch", "--watch-preserve-output", "--hot", "--no-clear-screen", "--clear-screen", "--watch-hmr")
_RUNNERS = ("poetry", "pipenv", "uv", "pdm", "hatch", "rye")
"""Python tools whose ``run`` only chooses an environment; ours is .venv, which is on PATH."""


@dataclass(frozen=True, slots=True)
class Program:
    """``before`` are wrappers and variables, kept as written; ``words`` begins with the program's name.

    ``tool`` is its framework's word, ``loads_once`` the suffixes of what it reads when it starts, ``served`` whether it is
    known to serve,
    ``reloads`` whether it is known to see changed files. ``flags`` are those for its port, at the end.
    """

    before: tuple[Word, ...]
    words: tuple[Word, ...]
    tool: str = ""
    flags: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    loads_once: tuple[str, ...] = ()
    served: bool = False
    reloads: bool = False
    shows_build: bool = False
    """Whether it is known to serve what another command builds."""
    changed: bool = False
    """Whether ``words`` are others than those of the script, beside ``flags``."""

    @property
    def name(self) -> str:
        return self.words[0].value.rpartition("/")[2] if self.words else ""

    @property
    def entry(self) -> str:
        """Path of the file that an interpreter runs, "" when there is none."""
        return next((word.value.removeprefix("./") for word in self.words[1:] if _is_a_file(word.value)), "")

    @property
    def text(self) -> str:
        return joined((*self.before, *self.words, *words(list(self.flags))))


def program_of(command: Command, read: Reader, port: int | None) -> Program:
    """What ``command`` of the folder that ``read`` reads runs, told to serve on ``port`` (None: wherever it says itself)."""
    before, rest = unwrapped(command.words)
    shortened = len(before) + len(rest) < len(command.words)
    if not rest:
        return Program(before, rest)
    plain = _without_reloader(rest, read)
    found = _known(before, plain, port)
    return replace(found, changed=shortened or found.words != rest)


def unwrapped(given: Sequence[Word]) -> tuple[tuple[Word, ...], tuple[Word, ...]]:
    """Wrappers and variables, and the command that they wrap. ``poetry run`` and its like are left out of both."""
    before: list[Word] = []
    rest = list(given)
    while rest:
        taken = _wrapper(rest)
        if taken == 0:
            break
        if rest[0].value not in _RUNNERS:
            before += rest[:taken]
        rest = rest[taken:]
    return tuple(before), tuple(rest)


def _wrapper(rest: Sequence[Word]) -> int:
    """How many words at the beginning only prepare what follows."""
    values = [word.value for word in rest]
    first = values[0]
    if "=" in first and first.partition("=")[0].isidentifier():
        return 1
    if first in ("cross-env", "env", "exec", "npx", "bunx", "env-cmd", "dotenv", "dotenvx", "nice", "command"):
        at = 1
        if first == "dotenvx" and values[1:2] == ["run"]:
            at = 2
        while at < len(values) and values[at].startswith("-"):
            if values[at] == "--":
                return at + 1
            at += 2 if values[at] in ("-e", "-f", "--file", "--env-file", "-n", "-p", "--package", "-u") else 1
        return at if at < len(values) else 0
    if values[:2] in (["pnpm", "exec"], ["pnpm", "dlx"], ["yarn", "exec"], ["yarn", "dlx"], ["npm", "exec"], ["bun", "x"]):
        return 3 if values[2:3] == ["--"] else 2
    if first in _RUNNERS and values[1:2] == ["run"]:
        at = 2
        while at < len(values) and values[at].startswith("-"):
            at += 2 if values[at] in ("--with", "--extra", "--group", "--python", "-p", "--env-file", "--package", "-e") else 1
        return at
    return 0


def _known(before: tuple[Word, ...], rest: tuple[Word, ...], port: int | None) -> Program:
    name = rest[0].value.rpartition("/")[2] if not rest[0].value.startswith("./") else rest[0].value
    name = re.sub(r"(?<=\w)@[\w.^~-]+$", "", name)  # npx vite@latest
    values = [word.value for word in rest]
    head = 1
    if _is_python(name) and values[1:2] == ["-m"] and len(values) > 2:
        name, head = values[2], 3
    tool = tool_of(name, values[head:])
    if tool is not None:
        kept, flags = tool.placed(rest[head:], port)
        built = tool.shows_build(values[head:])
        reloads = not tool.loads_once and not built
        words_of = (*rest[:head], *kept)
        return Program(before, words_of, tool.name, flags, tool.env, tool.loads_once, True, reloads, built)
    if _is_python(name):
        return _python(before, rest, port)
    if head == 3:  # python -m of something
        module_reads = () if name == "http.server" else PYTHON_SOURCES
        word = "python" if module_reads else "static"
        return Program(before, rest, word, (), {}, module_reads, served=True, reloads=not module_reads)
    if (reads := _BUILT.get((name, values[1] if len(values) > 1 else ""))) is not None:
        return Program(before, rest, name, (), {}, reads, served=True)
    if name in ("bun", "deno") and len(values) > 1 and "." in values[1]:
        return Program(before, rest, name, (), {}, _TS, served=True)
    if name in _INTERPRETERS and len(values) > 1 and not _asks_only(name, values[1:]):
        return Program(before, rest, name, (), {}, _INTERPRETERS[name], served=True, reloads=name == "php")
    return Program(before, rest)


def _asks_only(name: str, arguments: Sequence[str]) -> bool:
    """Whether an interpreter is given a line of code instead of a program."""
    return arguments[0] in ("-e", "-p", "--eval", "--print", "-v", "--version", "-c")


def _is_python(name: str) -> bool:
    return name == "py" or (name.startswith("python") and name[6:].replace(".", "").isdigit()) or name == "python"


def _python(before: tuple[Word, ...], rest: tuple[Word, ...], port: int | None) -> Program:
    values = [word.value for word in rest]
    if len(values) < 2 or values[1] in ("-V", "--version"):
        return Program(before, rest)
    if "manage.py" in values[1] and "runserver" in values:
        at = values.index("runserver") + 1
        kept = tuple(word for word in rest[at:] if word.value.startswith("-") and word.value != "--noreload")
        where = words([f"0.0.0.0:{port}"]) if port is not None else tuple(w for w in rest[at:] if not w.value.startswith("-"))
        return Program(before, (*rest[:at], *where, *kept), "django", ("--noreload",), {}, PYTHON_SOURCES, served=True)
    return Program(before, rest, "python", (), {}, PYTHON_SOURCES, served=True)


# Reloaders


def _without_reloader(rest: tuple[Word, ...], read: Reader) -> tuple[Word, ...]:
    """The plain command below a reloader; ``rest`` itself when there is none, or it is not understood."""
    name, arguments = rest[0].value.rpartition("/")[2], list(rest[1:])
    values = [word.value for word in arguments]
    if name == "node" and any(value.startswith("--watch") for value in values):
        return (rest[0], *_no_watch(arguments))
    if name in ("tsx", "vite-node") and ("watch" in values[:1] or "--watch" in values or "-w" in values):
        kept = arguments[1:] if values[0] == "watch" else arguments
        return (rest[0], *(word for word in _no_watch(kept) if word.value != "-w"))
    if name in ("ts-node-dev", "tsnd"):
        ours = {
            "--respawn",
            "--rs",
            "--cls",
            "--clear",
            "--poll",
            "--notify",
            "--tree-kill",
            "--quiet",
            "--exit-child",
            "--no-notify",
        }
        kept = [
            word
            for word in arguments
            if word.value not in ours and not word.value.startswith(("--ignore-watch=", "--watch=", "--debounce="))
        ]
        return (Word("ts-node", "ts-node"), *kept)
    if name in ("bun", "deno") and any(value.startswith(("--watch", "--hot")) for value in values):
        return (rest[0], *_no_watch(arguments))
    if name == "nodemon":
        return _nodemon(arguments, read) or rest
    if name == "dotnet" and values[:1] == ["watch"]:
        after = arguments[1:]
        return (rest[0], *(after if after and after[0].value == "run" else (Word("run", "run"), *after)))
    if name == "cargo" and values[:2] == ["watch", "-x"] and len(values) == 3 and values[2].startswith("run"):
        return (rest[0], *words(shlex.split(values[2])))
    if name in ("pm2", "forever") and values[:1] == ["start"]:
        return _in_front(rest)
    if name == "watchexec" and "--" in values:
        return tuple(arguments[values.index("--") + 1 :]) or rest
    if name in ("watchmedo",) and values[:1] == ["auto-restart"] and "--" in values:
        return tuple(arguments[values.index("--") + 1 :]) or rest
    if name == "watchfiles" and values and not values[0].startswith("-") and " " in values[0]:
        return words(shlex.split(values[0]))
    return rest


def _in_front(rest: tuple[Word, ...]) -> tuple[Word, ...]:
    """``pm2 start x`` goes on behind its caller, who ends: the app itself takes its place; an ecosystem file has pm2-runtime."""
    script = next((word for word in rest[2:] if _is_a_file(word.value)), None)
    if script is None:
        return rest
    if (rest[0].value == "pm2" and ".config." in script.value) or script.value.endswith((".json", ".yml")):
        return (Word("pm2-runtime", "pm2-runtime"), *rest[2:])
    after = rest[rest.index(Word("--", "--")) + 1 :] if Word("--", "--") in rest else ()
    python = script.value.endswith(".py")
    return (Word("python3", "python3") if python else Word("node", "node"), script, *after)


def _no_watch(arguments: Sequence[Word]) -> list[Word]:
    """Without flags of watching, their values too; what follows the program's file is its own."""
    kept: list[Word] = []
    skip = False
    for at, word in enumerate(arguments):
        if skip:
            skip = False
            continue
        flag = word.value.partition("=")[0]
        if not word.value.startswith("-"):
            return (
                [*kept, *arguments[at:]] if word.value not in ("run", "serve") else [*kept, word, *_no_watch(arguments[at + 1 :])]
            )
        if flag in ("--watch-path", "--include", "--exclude", "--ignore", "--watch-kill-signal"):
            skip = "=" not in word.value
        elif flag not in _WATCH_FLAGS:
            kept.append(word)
    return kept


_NODEMON_VALUES = {"-w", "--watch", "-e", "--ext", "-i", "--ignore", "-d", "--delay", "-s", "--signal"}
_NODEMON_ALONE = {
    "-q",
    "--quiet",
    "-V",
    "--verbose",
    "-L",
    "--legacy-watch",
    "--spawn",
    "-I",
    "--no-stdin",
    "--on-change-only",
    "-C",
}


def _nodemon(arguments: Sequence[Word], read: Reader) -> tuple[Word, ...] | None:  # noqa: PLR0912 - one branch an option
    """None when its own options are not understood."""
    package = json_object(read("package.json"))
    settings: dict[str, Any] = json_object(read("nodemon.json")) or _object(package.get("nodemonConfig"))
    execute = settings.get("exec") if isinstance(settings.get("exec"), str) else None
    if set(settings) - {"exec", "watch", "ext", "ignore", "delay", "verbose", "quiet", "restartable", "legacyWatch", "signal"}:
        return None
    flags: list[Word] = []
    at = 0
    while at < len(arguments):
        word = arguments[at]
        flag, equals, value = word.value.partition("=")
        if not word.value.startswith("-"):
            break
        if word.value == "--":
            at += 1
            break
        if flag in ("-x", "--exec"):
            execute = value if equals else (arguments[at + 1].value if at + 1 < len(arguments) else "")
            at += 1 if equals else 2
        elif flag in _NODEMON_VALUES:
            at += 1 if equals else 2
        elif flag in _NODEMON_ALONE:
            at += 1
        elif (
            flag.startswith(
                ("--inspect", "--require", "--import", "--env-file", "--experimental", "--loader", "--max-old-space-size")
            )
            or flag == "-r"
        ):
            pair = flag in ("-r", "--require", "--import", "--loader") and not equals
            flags += arguments[at : at + (2 if pair else 1)]
            at += 2 if pair else 1
        else:
            return None
    script = list(arguments[at:])
    if execute is not None:
        try:
            runs = words(shlex.split(execute))
        except ValueError:
            return None
        if "$" in execute or any(word.value in ("&&", "||", ";", "|", "&") or word.value.endswith(";") for word in runs):
            return None
        return (*runs, *flags, *script) if runs else None
    if not script:
        main = package.get("main")
        name = (
            main
            if isinstance(main, str) and read(main) is not None
            else next((each for each in ("index.js", "server.js", "app.js") if read(each) is not None), None)
        )
        if name is None:
            return None
        script = list(words([name]))
    if script[0].value.endswith((".ts", ".mts", ".cts", ".tsx")):
        installed = {**_object(package.get("dependencies")), **_object(package.get("devDependencies"))}
        runner = "ts-node" if "ts-node" in installed or "tsx" not in installed else "tsx"
        return (Word(runner, runner), *flags, *script)
    if script[0].value.endswith(".py"):
        return (Word("python3", "python3"), *script)
    return (Word("node", "node"), *flags, *script)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_a_file(word: str) -> bool:
    """Whether a word may name a file: code that was given instead of one is no path."""
    return "." in word and not word.startswith("-") and len(word) < 200 and not any(char.isspace() for char in word)
