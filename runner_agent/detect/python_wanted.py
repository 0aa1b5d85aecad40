"""What a Python project asks for: requirements.txt, pyproject.toml, Pipfile, a script's own block, Conda's environment, or else
what its programs import."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from runner_agent.detect.python_local import local
from runner_agent.detect.python_lock import PINS, pins
from runner_agent.detect.python_names import IMPORTED, imported
from runner_agent.detect.python_tables import name_of, table, texts, toml
from runner_agent.detect.reading import Reader, json_object, text

_REQUIREMENTS = (
    "requirements.txt",
    *(
        f"requirements/{name}.txt"
        for name in ("dev", "local", "development", "base", "common", "main", "requirements", "prod", "production")
    ),
    "requirements-dev.txt",
    "requirements_dev.txt",
    "dev-requirements.txt",
    "requirements.in",
    "app/requirements.txt",
    "src/requirements.txt",
)
_SCRIPTS = 20
"""Files at the top that are looked into for packages of their own."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """``arguments`` of pip install, ``pins`` (``name==version``) as its constraints, the files they came from, and the Python
    asked for.

    ``implied`` are import names, where nothing but the program's imports asks for packages; ``folders`` are those of packages
    that lie in the tree itself.
    """

    arguments: tuple[str, ...]
    pins: tuple[str, ...] = ()
    python: str = ""
    where: str = ""
    files: tuple[str, ...] = ()
    implied: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


def wanted_of(read: Reader) -> Wanted | None:
    found = _of_requirements(read) or _of_pyproject(read) or _of_pipfile(read)
    if found is None and (read("setup.py") is not None or b"install_requires" in (read("setup.cfg") or b"")):
        found = Wanted(("-e", "."), (), "", "", ("setup.py", "setup.cfg"))
    return found or _of_script(read) or _of_conda(read) or _of_imports(read)


def wanted_packages(read: Reader) -> frozenset[str]:
    """Names of the packages that the project asks for, as far as its files say."""
    wanted = wanted_of(read)
    if wanted is None:
        return frozenset()
    lines = [line for path in wanted.files if path.endswith((".txt", ".in")) for line in text(read, path).splitlines()]
    return frozenset(name_of(each) for each in (*wanted.arguments, *lines)) - {""}


def _of_requirements(read: Reader) -> Wanted | None:
    path = next((path for path in _REQUIREMENTS if read(path) is not None), None)
    if path is None:
        return None
    return Wanted(
        ("-r", path),
        (),
        toml(read("pyproject.toml")).get("project", {}).get("requires-python", ""),
        "pyproject.toml",
        _included(read, path),
    )


def _included(read: Reader, path: str) -> tuple[str, ...]:
    """The file, and those that it includes, relative to itself."""
    found = [path]
    for each in found:
        folder = each.rpartition("/")[0]
        for name in re.findall(r"^[ \t]*(?:-r|-c|--requirement|--constraint)[ =]+(\S+)", text(read, each), re.MULTILINE):
            target = f"{folder}/{name}".strip("/") if not name.startswith("../") else name.removeprefix("../")
            if target not in found and len(found) < 20:
                found.append(target)
    return tuple(found)


def _of_pyproject(read: Reader) -> Wanted | None:
    document = toml(read("pyproject.toml"))
    project, tool = table(document.get("project")), table(document.get("tool"))
    poetry = table(tool.get("poetry"))
    lines = texts(project.get("dependencies"))
    python = project.get("requires-python", "")
    if poetry:
        groups = [table(poetry.get("dependencies")), table(poetry.get("dev-dependencies"))]
        groups += [
            table(group.get("dependencies"))
            for group in map(table, table(poetry.get("group")).values())
            if not group.get("optional")
        ]
        lines += [line for group in groups for name, said in group.items() if (line := _poetry_line(name, said))]
        said = groups[0].get("python")
        python = python or (said if isinstance(said, str) else "")
    dynamic = "dependencies" in texts(project.get("dynamic"))
    if dynamic:
        files = table(table(table(tool.get("setuptools")).get("dynamic")).get("dependencies")).get("file")
        names = [files] if isinstance(files, str) else texts(files)
        lines += [word for name in names for word in ("-r", name)] or ["-e", "."]
    lines += _group(table(document.get("dependency-groups")), "dev", 0)
    lines, folders, files = local(read, document, lines)
    if not lines:
        return None
    return Wanted(
        tuple(dict.fromkeys(lines)) if not dynamic else tuple(lines),
        pins(read),
        python if isinstance(python, str) else "",
        "pyproject.toml",
        files,
        (),
        folders,
    )


def _group(groups: Mapping[str, Any], name: str, depth: int) -> list[str]:
    found: list[str] = []
    entries = groups.get(name)
    for entry in entries if isinstance(entries, list) and depth < 5 else ():
        if isinstance(entry, str):
            found.append(entry)
        elif isinstance(included := table(entry).get("include-group"), str):
            found += _group(groups, included, depth + 1)
    return found


def _of_pipfile(read: Reader) -> Wanted | None:
    content = read("Pipfile")
    if content is None:
        return None
    document = toml(content)
    lines = [line for name, said in table(document.get("packages")).items() if (line := _poetry_line(name, said))]
    locked = table(json_object(read("Pipfile.lock")).get("default"))
    exact = [f"{name}{version}" for name, said in locked.items() if isinstance(version := table(said).get("version"), str)]
    python = table(document.get("requires")).get("python_version", "")
    return (
        Wanted(tuple(lines), tuple(exact[:PINS]), f"=={python}.*" if python else "", "Pipfile", ("Pipfile",)) if lines else None
    )


def _of_imports(read: Reader) -> Wanted | None:
    names = imported(read)
    return Wanted(tuple(IMPORTED[name] for name in names), implied=names) if names else None


def _poetry_line(name: str, said: Any) -> str:
    """One entry of Poetry's or Pipenv's tables as pip writes it; "" for Python itself and what cannot be written so."""
    if name.lower() == "python":
        return ""
    if isinstance(said, list):
        said = said[0] if said else "*"
    if isinstance(said, str):
        return name + _versions(said)
    entry = table(said)
    if entry.get("optional"):
        return ""
    extras = ",".join(texts(entry.get("extras")))
    named = f"{name}[{extras}]" if extras else name
    if isinstance(git := entry.get("git"), str):
        at = next((entry[key] for key in ("rev", "ref", "tag", "branch") if isinstance(entry.get(key), str)), "")
        return f"{named} @ git+{git}" + (f"@{at}" if at else "")
    if isinstance(path := entry.get("path"), str):
        return f"./{path}"
    marker = f" ; {entry['markers']}" if isinstance(entry.get("markers"), str) else ""
    return named + _versions(str(entry.get("version", "*"))) + marker


def _versions(said: str) -> str:
    """``^1.2`` and the like in pip's words."""
    parts = []
    for part in said.replace(" ", "").split(","):
        match = re.fullmatch(r"(\^|~)(\d+(?:\.\d+)*)([\w.-]*)", part)
        if match:
            numbers = [int(n) for n in match[2].split(".")]
            at = 0 if match[1] == "^" else min(1, len(numbers) - 1)
            if match[1] == "^":
                at = next((i for i, n in enumerate(numbers) if n), len(numbers) - 1)
            upper = [*numbers[:at], numbers[at] + 1]
            parts += [f">={match[2]}{match[3]}", f"<{'.'.join(map(str, upper))}"]
        elif part in ("*", ""):
            continue
        else:
            parts.append(part if part[0] in "<>=!~" else f"=={part}")
    return ",".join(parts)


def _of_script(read: Reader) -> Wanted | None:
    """Of a single file that says in a block of its own what it needs (PEP 723)."""
    for path in [name for name in read.names("") if name.endswith(".py")][:_SCRIPTS]:
        document = toml(_block(text(read, path)).encode())
        python = document.get("requires-python", "")
        if lines := texts(document.get("dependencies")):
            return Wanted(tuple(lines), (), python if isinstance(python, str) else "", path, (path,))
    return None


def _block(content: str) -> str:
    """The TOML between ``# /// script`` and ``# ///``, "" without such a block."""
    inside = content.replace("\r\n", "\n").partition("# /// script\n")[2]
    found = list(takewhile(lambda line: line.startswith("#") and line.rstrip() != "# ///", inside.split("\n")))
    return "\n".join(line[2:] for line in found)


_NOT_OF_PYPI = {"python", "pip", "nodejs", "conda", "mamba", "setuptools", "wheel", "compilers", "gxx_linux-64", "cudatoolkit"}


def _of_conda(read: Reader) -> Wanted | None:
    """Conda's environment: its packages by the same names from pip, which most of them have."""
    for name in ("environment.yml", "environment.yaml"):
        lines: list[str] = []
        python, within = "", False
        for line in text(read, name).splitlines():
            within = line.startswith("dependencies:") or (within and (not line.strip() or line[0] in " -#"))
            match = (
                re.match(r"\s*-\s*[\"']?(?:[\w-]+::)?([A-Za-z0-9][\w.-]*(?:\[[\w,-]+\])?)\s*([^\"'#:]*)", line)
                if within
                else None
            )
            if match is None or (match[0].strip().endswith("pip") and line.rstrip().endswith(":")):
                continue
            said = match[2].strip()
            conda = re.fullmatch(r"={1,2}([\d.]+)(?:\.\*)?(=\S+)?", said)
            exact = said.startswith("==") or (conda is not None and conda[1].count(".") > 1)
            version = said if conda is None else f"=={conda[1].rstrip('.')}{'' if exact else '.*'}"
            if match[1].lower() == "python":
                python = version.replace(" ", "")
            elif match[1].lower() not in _NOT_OF_PYPI and not match[1].startswith("lib"):
                lines.append(("torch" if match[1] == "pytorch" else match[1]) + version)
        if lines:
            return Wanted(tuple(dict.fromkeys(lines)), (), python, name, (name,))
    return None
