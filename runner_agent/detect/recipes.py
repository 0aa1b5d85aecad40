"""Commands that a project's other files name: a Procfile, a Makefile's ``dev``, a Dockerfile's CMD, ``run.sh`` and the like.

They are read, not run by their own tool: an image has neither make, just nor docker. What cannot be read completely (a variable
that is not known, a loop) is left out.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from runner_agent.detect.python_tables import table, texts, toml
from runner_agent.detect.reading import Reader, json_object, text

_NAMES = (
    "dev",
    "serve",
    "start",
    "run",
    "server",
    "develop",
    "web",
    "watch",
    "up",
    "run-dev",
    "dev-server",
    "runserver",
    "preview",
)
"""Of tasks that serve, in the order in which they are asked."""
_INSTALLS = re.compile(
    r"(\S*/)?(pip3?|python3? -m pip|npm|pnpm|yarn|poetry|uv|bun|pdm|pipenv) (pip )?(install|ci|i|sync|add|-U)\b.*|"
    r"(python3?|uv) (-m )?venv\b.*|(source|\.) \S*/bin/activate|yarn|uv sync.*"
)
"""What has been done before anything runs."""
_DEPTH = 4
_CHARACTERS = 32 * 1024
_LINES = 60
"""Of one task."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """``script`` is a line of shell, ``where`` the file that it stands in, ``shown`` what people type instead.

    ``any_program``: it is meant for nothing but running the project, so that its program need not be a known server.
    """

    script: str
    where: str
    shown: str
    any_program: bool = False


def recipes(read: Reader) -> Iterator[Recipe]:
    """In the order in which they are trusted."""
    for find in (
        _procfile,
        _makefile,
        _justfile,
        _taskfile,
        _pyproject,
        _shell_files,
        _replit,
        _devcontainer,
        _dockerfile,
        _compose,
    ):
        yield from find(read)


def _text(read: Reader, path: str) -> str:
    """Content of a file that people write by hand; "" for a larger one."""
    content = text(read, path)
    return content if len(content) <= _CHARACTERS else ""


def _procfile(read: Reader) -> Iterator[Recipe]:
    for name in ("Procfile", "Procfile.dev"):
        for process, script in re.findall(r"^([\w-]+):\s*(.+)$", _text(read, name), re.MULTILINE):
            if process == "web":
                yield Recipe(script.strip(), name, script.strip(), True)


# Makefile and justfile: a target, and indented lines


def _makefile(read: Reader) -> Iterator[Recipe]:
    name = next((each for each in ("Makefile", "makefile", "GNUmakefile") if read(each) is not None), None)
    content = _text(read, name).replace("\\\n", " ") if name is not None else ""
    variables = {
        key: value.strip() for key, value in re.findall(r"^(?:export\s+)?(\w+)\s*[:?]?=[ \t]*([^#\n]*)", content, re.MULTILINE)
    }
    if re.search(r"^PORT\s*\?=", content, re.MULTILINE):  # the environment's goes before it
        variables["PORT"] = f"${{PORT:-{variables['PORT']}}}"
    targets = _targets(content, r"([\w.-]+)\s*:(?![:=])([^#\n]*)")

    def known(line: str) -> str | None:
        line = re.sub(r"\$\((\w+)\)|\$\{(\w+)\}", lambda m: variables.get(m[1] or m[2], m[0]), line)
        line = re.sub(r"\$\(MAKE\)", "make", line).replace("$$", "\0")
        return None if "$(" in line else line.replace("\0", "$")

    yield from _tasks(targets, name or "", "make", known)


def _justfile(read: Reader) -> Iterator[Recipe]:
    name = next((each for each in ("justfile", "Justfile", ".justfile") if read(each) is not None), None)
    content = _text(read, name) if name is not None else ""
    variables = dict(re.findall(r"^(\w+)\s*:=\s*[\"']([^\"'\n]*)[\"']", content, re.MULTILINE))
    for parameters in re.findall(r"^@?[\w-]+((?:\s+\w+=[\"']?[\w./-]+[\"']?)+)\s*:(?!=)", content, re.MULTILINE):
        variables |= dict(re.findall(r"(\w+)=[\"']?([\w./-]+)", parameters))
    targets = _targets(content, r"@?([\w-]+)(?:\s+[^:\n]*)?:(?!=)([^#\n]*)")

    def known(line: str) -> str | None:
        line = re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda m: variables.get(m[1], m[0]), line)
        return None if "{{" in line else line

    yield from _tasks(targets, name or "", "just", known)


def _targets(content: str, head: str) -> dict[str, tuple[list[str], list[str]]]:
    """Target → the targets before it, and its lines."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    now: list[str] | None = None
    for line in content.splitlines():
        if line[:1] in (" ", "\t"):
            if now is not None and line.strip() and not line.strip().startswith("#"):
                now.append(line.strip())
        elif match := re.match(head, line):
            now = []
            found.setdefault(match[1], (match[2].split(), now))
        elif line.strip() and not line.startswith("#"):
            now = None
    return found


def _tasks(
    targets: dict[str, tuple[list[str], list[str]]], where: str, tool: str, known: Callable[[str], str | None]
) -> Iterator[Recipe]:
    for name in _NAMES:
        lines = _lines(targets, name, tool, known, 0) if name in targets else None
        if lines:
            yield Recipe(" && ".join(lines), where, f"{tool} {name}")


def _lines(
    targets: dict[str, tuple[list[str], list[str]]], name: str, tool: str, known: Callable[[str], str | None], depth: int
) -> list[str] | None:
    """The commands of a target and of those before it; None when one of them is not understood."""
    before, own = targets.get(name, ([], []))
    found: list[str] = []
    for each in before if depth < _DEPTH else ():
        inner = _lines(targets, each, tool, known, depth + 1)
        if inner is None:
            return None
        found += inner
    for raw in own:
        line = known(raw.lstrip("@-+ "))
        if line is None:
            return None
        call = re.fullmatch(rf"{tool}\s+([\w.-]+)", line)
        inner = _lines(targets, call[1], tool, known, depth + 1) if call is not None and depth < _DEPTH else [line]
        if inner is None:
            return None
        found += [each for each in inner if not _INSTALLS.fullmatch(each)]
    return found if len(found) <= _LINES else None


# Tables


def _taskfile(read: Reader) -> Iterator[Recipe]:
    """``tasks: {dev: {cmds: […]}}``, by the indentation of its lines: a YAML reader would be a dependency of every pod."""
    name = next((each for each in ("Taskfile.yml", "Taskfile.yaml", "taskfile.yml") if read(each) is not None), None)
    lines = _text(read, name).splitlines() if name is not None else []
    for task in _NAMES:
        start = next((i for i, line in enumerate(lines) if re.match(rf"\s+{task}:", line)), None)
        if start is None:
            continue
        indent = len(lines[start]) - len(lines[start].lstrip())
        body = [lines[start].partition(":")[2]]
        for line in lines[start + 1 :]:
            if line.strip() and len(line) - len(line.lstrip()) <= indent:
                break
            body.append(line)
        found = re.findall(r"^[ \t]*(?:- (?:cmd: )?|cmd: ?)(.+)$|^[ \t]*([^\s:][^:\n]* [^:\n]*)$", "\n".join(body), re.MULTILINE)
        commands = [_unquoted(one or other) for one, other in found]
        commands = [each for each in commands if not _INSTALLS.fullmatch(each)]
        if commands and not any("{{" in each or each.startswith("task:") for each in commands):
            yield Recipe(" && ".join(commands), name or "", f"task {task}")


def _pyproject(read: Reader) -> Iterator[Recipe]:
    """Tasks of pdm, rye, hatch, poe and taskipy."""
    tool = table(toml(read("pyproject.toml")).get("tool"))
    hatch = table(table(table(tool.get("hatch")).get("envs")).get("default")).get("scripts")
    places = (
        ("pdm run", table(tool.get("pdm")).get("scripts")),
        ("rye run", table(tool.get("rye")).get("scripts")),
        ("hatch run", hatch),
        ("poe", table(tool.get("poe")).get("tasks")),
        ("task", table(tool.get("taskipy")).get("tasks")),
    )
    for runner, said in places:
        tasks = table(said)
        for name in _NAMES:
            script = tasks.get(name)
            if isinstance(script, dict):
                script = next((script[key] for key in ("cmd", "shell", "chain") if key in script), None)
            script = shlex.join(texts(script)) if isinstance(script, list) and runner == "rye run" else script
            if isinstance(script, str) and "{" not in script:
                yield Recipe(script, "pyproject.toml", f"{runner} {name}")


def _shell_files(read: Reader) -> Iterator[Recipe]:
    for folder in ("", "scripts", "bin"):
        for stem in ("dev", "run", "start", "serve", "run_dev", "run-dev", "start_server", "entrypoint"):
            path = f"{folder}/{stem}.sh".lstrip("/")
            if read(path) is not None:
                yield Recipe(_of_shell_file(_text(read, path), path), path, f"sh {path}", True)


def _of_shell_file(content: str, path: str) -> str:
    """Its lines as one, where all of them are simple; else a call of the file."""
    lines = [line.strip() for line in content.replace("\\\n", " ").splitlines()]
    lines = [line for line in lines if line and not line.startswith(("#", "set ")) and not _INSTALLS.fullmatch(line)]
    here = re.compile(r"cd \"?\$\(dirname .*\)\"?( \|\| exit.*)?")
    lines = [line for line in lines if not here.fullmatch(line)] if "/" not in path else lines
    simple = len(lines) <= 6 and not any(
        re.search(r"^(if|for|while|case|function|trap)\b|[`(){<>]|&$|;$", line) for line in lines
    )
    shell = "bash" if content.startswith(("#!/bin/bash", "#!/usr/bin/env bash")) else "sh"
    return " && ".join(lines) if simple and lines else f"{shell} {path}"


def _replit(read: Reader) -> Iterator[Recipe]:
    document = toml(_text(read, ".replit").encode())
    run = document.get("run")
    run = shlex.join(texts(run)) if isinstance(run, list) else run
    if isinstance(run, str) and run.strip():
        yield Recipe(run.strip(), ".replit", run.strip(), True)
    elif isinstance(entry := document.get("entrypoint"), str) and entry.endswith(".py"):
        yield Recipe(f"python3 {shlex.quote(entry)}", ".replit", f"python3 {entry}", True)


def _devcontainer(read: Reader) -> Iterator[Recipe]:
    for name in (".devcontainer/devcontainer.json", ".devcontainer.json"):
        content = re.sub(r"^[ \t]*//.*$", "", _text(read, name), flags=re.MULTILINE)
        said = json_object(re.sub(r",(\s*[}\]])", r"\1", content).encode())
        for key in ("postAttachCommand", "postStartCommand"):
            value = said.get(key)
            for each in value.values() if isinstance(value, dict) else [value]:
                script = shlex.join(texts(each)) if isinstance(each, list) else each
                if isinstance(script, str) and script.strip():
                    yield Recipe(script.strip(), name, script.strip())


def _dockerfile(read: Reader) -> Iterator[Recipe]:
    content = re.sub(r"\\\s*\n", " ", _text(read, "Dockerfile"))
    last = content[content.rfind("\nFROM ") + 1 :]
    said = {word.upper(): _docker_words(value) for word, value in re.findall(r"(?mi)^(CMD|ENTRYPOINT)\s+(.+)$", last)}
    if not said:
        return
    script = " ".join(part for part in (said.get("ENTRYPOINT", ""), said.get("CMD", "")) if part)
    variables = re.findall(r"(?mi)^ENV\s+(\w+)[ =]\"?([\w./:@-]+)\"?\s*$", last)
    exports = " ".join(f"{key}={value}" for key, value in variables if key not in ("PORT", "HOST", "PATH", "NODE_ENV"))
    yield Recipe(f"{exports} {script}".strip(), "Dockerfile", script)


def _docker_words(value: str) -> str:
    """The exec form (a list) or the shell form."""
    try:
        words = json.loads(value) if value.lstrip().startswith("[") else None
    except ValueError:
        return ""
    found = texts(words) if words is not None else []
    if len(found) == 3 and found[0] in ("sh", "bash", "/bin/sh", "/bin/bash") and found[1] == "-c":
        return found[2]
    return value.strip() if words is None else shlex.join(found)


def _compose(read: Reader) -> Iterator[Recipe]:
    for name in ("docker-compose.yml", "docker-compose.yaml", "compose.yaml", "compose.yml"):
        for value in re.findall(r"^[ \t]+command:[ \t]*(\S.*)$", _text(read, name), re.MULTILINE):
            script = _docker_words(_unquoted(value))
            if script and script[0] not in ">|":
                yield Recipe(script, name, script)


def _unquoted(value: str) -> str:
    value = value.strip()
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
