"""package.json and what lies beside it: scripts, workspaces, and the package manager that the project was made with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, cast

from runner_agent.detect.reading import Reader, below, folders, json_object, text

Manager = Literal["npm", "pnpm", "yarn", "bun"]
LOCKS: Mapping[str, Manager] = {
    "pnpm-lock.yaml": "pnpm",
    "yarn.lock": "yarn",
    "bun.lock": "bun",
    "bun.lockb": "bun",
    "package-lock.json": "npm",
    "npm-shrinkwrap.json": "npm",
}
"""The more particular first: people who try another manager leave npm's lock behind."""
DEPENDENCIES = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")
WORKSPACES = 100
"""Members of one tree that are looked at."""
_PACKAGE_MANAGER = re.compile(r"(npm|pnpm|yarn|bun)(?:@[~^>=v]*(\d+(?:\.\d+){0,2}[\w.-]*|berry|stable)?.*)?")


@dataclass(frozen=True, slots=True)
class Package:
    """One package.json; ``folder`` is relative to the tree, "" for its top."""

    folder: str
    json: Mapping[str, Any]

    @property
    def name(self) -> str:
        name = self.json.get("name")
        return name if isinstance(name, str) else ""

    @property
    def scripts(self) -> Mapping[str, str]:
        scripts = self.json.get("scripts")
        return {k: v for k, v in scripts.items() if isinstance(v, str)} if isinstance(scripts, dict) else {}

    def depends_on(self, *names: str) -> bool:
        return any(isinstance(part := self.json.get(field), dict) and not part.keys().isdisjoint(names) for field in DEPENDENCIES)

    @property
    def has_dependencies(self) -> bool:
        return any(self.json.get(field) for field in (*DEPENDENCIES, "workspaces"))


def package_at(read: Reader, folder: str) -> Package | None:
    """None without a package.json; one that is no JSON object counts as empty."""
    content = read(f"{folder}/package.json" if folder else "package.json")
    return None if content is None else Package(folder, json_object(content))


def not_json(content: bytes) -> str | None:
    """What is wrong with a package.json, in words that follow its name."""
    try:
        value = json.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except ValueError as error:
        return f"is not JSON: {_why(content, error)}"
    except RecursionError:
        return "is not JSON: it is nested too deep"
    return None if isinstance(value, dict) else "is not a JSON object"


def _why(content: bytes, error: ValueError) -> str:
    """The parser's words, or those for what people do most often."""
    said = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    if not said.strip():
        return "it is empty"
    if re.search(r"^(<{7}|={7}|>{7})", said, re.MULTILINE):
        return "it holds a merge conflict that nobody has resolved"
    if isinstance(error, json.JSONDecodeError):
        where, there = f"line {error.lineno}", said[error.pos : error.pos + 1]
        if there in ("}", "]") and said[: error.pos].rstrip().endswith(","):
            return f"{where}: the last comma before {there} is one too many"
        if there in ("/", "#"):
            return f"{where}: it cannot hold comments"
    return str(error)


def workspaces(read: Reader) -> list[Package]:
    """Members of the workspace whose root is the tree, in the order of their folders."""
    found: dict[str, Package] = {}
    for pattern in _patterns(read):
        for folder in _matching(read, pattern):
            if folder not in found and len(found) < WORKSPACES and (package := package_at(read, folder)) is not None:
                found[folder] = package
    return [found[folder] for folder in sorted(found)]


def manager_of(read: Reader) -> tuple[Manager, str | None]:
    """Package manager, and its version (exact, or a major) where package.json names one."""
    package = package_at(read, "")
    said = package.json.get("packageManager") if package is not None else None
    if isinstance(said, str) and (match := _PACKAGE_MANAGER.fullmatch(said.strip())):
        return cast("Manager", match[1]), _version(match[2])
    engine = package.json.get("devEngines") if package is not None else None
    engine = engine.get("packageManager") if isinstance(engine, dict) else None
    if isinstance(engine, dict) and engine.get("name") in ("npm", "pnpm", "yarn", "bun"):
        version = engine.get("version")
        return engine["name"], version if isinstance(version, str) and re.fullmatch(r"\d+\.\d+\.\d+", version) else None
    for lock, manager in LOCKS.items():
        if read(lock) is not None:
            return manager, None
    if read("pnpm-workspace.yaml") is not None:
        return "pnpm", None
    if read(".yarnrc.yml") is not None:
        return "yarn", None
    called = called_managers(read)
    return (called[0] if called else "npm"), None


def _version(said: str | None) -> str | None:
    """The exact version that was named, or its major: people write ``pnpm@9``, ``pnpm@9.x`` and ``yarn@stable`` as well."""
    if said is None or re.fullmatch(r"\d+\.\d+\.\d+[\w.-]*", said):
        return said
    return "4" if not said[0].isdigit() else re.split(r"\D", said)[0]


def called_managers(read: Reader) -> tuple[Manager, ...]:
    """Package managers other than npm that the scripts call by name."""
    packages = [package for package in (package_at(read, ""), *workspaces(read)) if package is not None]
    text = "\n".join(script for package in packages for script in package.scripts.values())
    found = {
        "bun" if name == "bunx" else name for name in re.findall(r"(?:^|[\s\"'&|;])(pnpm|yarn|bunx?)(?=\s|$)", text, re.MULTILINE)
    }
    if any(package.depends_on("@types/bun", "bun-types") for package in packages):
        found.add("bun")
    return tuple(name for name in ("pnpm", "yarn", "bun") if name in found)


def is_berry(read: Reader, version: str | None) -> bool:
    """Whether a yarn project is one of yarn 2 or later."""
    if version is not None:
        return version.partition(".")[0] not in ("0", "1")
    lock = read("yarn.lock")
    return b"__metadata:" in lock[:2000] if lock is not None else read(".yarnrc.yml") is not None


def plugs_and_plays(read: Reader, version: str | None) -> bool:
    """Whether yarn makes .pnp.cjs instead of node_modules: what it does from version 2 on unless told otherwise."""
    return is_berry(read, version) and not re.search(
        r"^nodeLinker:\s*[\"']?(node-modules|pnpm)", text(read, ".yarnrc.yml"), re.MULTILINE
    )


def _patterns(read: Reader) -> Iterator[str]:
    package = package_at(read, "")
    said = package.json.get("workspaces") if package is not None else None
    said = said.get("packages") if isinstance(said, dict) else said
    yield from (pattern for pattern in (said if isinstance(said, list) else ()) if isinstance(pattern, str))
    in_packages = False
    for line in text(read, "pnpm-workspace.yaml").splitlines():  # a YAML reader would be a dependency of every pod
        if re.match(r"packages\s*:", line):
            in_packages = True
        elif in_packages and (match := re.match(r"\s*-\s*[\"']?([^\"'#\s]+)", line)):
            yield match[1]
        elif line.strip() and not line[0].isspace() and not line.startswith("#"):
            in_packages = False


def _matching(read: Reader, pattern: str) -> list[str]:
    """Folders that a pattern such as ``apps/*`` or ``packages/**`` names, two levels below its fixed part at most."""
    parts = pattern.strip("/").removeprefix("./").split("/")
    if parts[0].startswith("!") or ".." in parts:
        return []
    found = [""]
    for part in parts:
        following: list[str] = []
        for folder in found[:WORKSPACES]:
            if part == "**":
                inner = [f"{folder}/{name}".strip("/") for name in folders(read, folder)]
                following += [folder, *inner, *(f"{each}/{name}" for each in inner for name in folders(read, each))]
            elif "*" in part:
                following += [f"{folder}/{name}".strip("/") for name in folders(read, folder) if fnmatchcase(name, part)]
            else:
                following.append(f"{folder}/{part}".strip("/"))
        found = following
    return [folder for folder in found if folder]


def reader_of(read: Reader, package: Package) -> Reader:
    return below(read, package.folder)
