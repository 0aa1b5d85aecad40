"""What is expected of one project of the corpus, as its `expect.toml` says it. Pure.

::

    framework = "Vite 7, React"        # the column of the page
    expect = "up"                      # up (default) | told: it cannot come up, and says why | either
    generator = "create-vite@9.3.0 app --template react-ts"   # for npx; makes the folder `app`, over which our own files are laid
    setup = ["git init -q"]            # shell commands in the copy, before its first sync
    file = "src/App.tsx"               # what is edited, and the text of it that the page shows
    text = "HELLO ONE"
    says = ["go.mod", "Go"]            # of a told project: all of it is in the sentence
    [[place]]                          # more places to edit, in turn with the first one
    file = "src/about.ts"
    text = "About us"
    [broken]                           # the broken edit: `append` to `file` (the first place's), or `find` and `write`
    append = "const = broken"
    shows = ["SyntaxError"]            # one of these is on the page
    [[look]]                           # what else must be so: the text of `path`, or what `script` evaluates to, holds `text`
    path = "/about"
    text = "About page"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

FILE = "expect.toml"

READY_SECONDS = 240.0
EDIT_SECONDS = 25.0

Kind = Literal["up", "told", "either"]
_KINDS: tuple[Kind, ...] = ("up", "told", "either")


class ExpectationError(ValueError):
    """An expect.toml that does not say what to do; the message names the file and the field."""


@dataclass(frozen=True, slots=True)
class Place:
    """``text`` stands in ``file`` and on the page."""

    file: str
    text: str


@dataclass(frozen=True, slots=True)
class Broken:
    """An edit that breaks the app: ``find`` becomes ``write``, or ``append`` is added. One of ``shows`` must then be seen."""

    file: str
    find: str
    write: str
    append: str
    shows: tuple[str, ...]

    def applied(self, content: str) -> str:
        return content.replace(self.find, self.write, 1) if self.find else f"{content}\n{self.append}\n"


@dataclass(frozen=True, slots=True)
class Look:
    """A page below the app's root, or what a script says about the first page, holds ``text``."""

    path: str
    script: str
    text: str


@dataclass(frozen=True, slots=True)
class Expectation:
    """``once``: texts of the log that must be there exactly once. ``holds``: commands that must succeed in the sandbox.
    ``f5``: the page is no HTML, so nothing can reload it but the person. ``remedy``: a spec with which it must come up.
    ``ready`` and ``edit`` are seconds until the app must answer, and until an edit must be on the page."""

    name: str
    framework: str
    kind: Kind
    generator: str
    setup: tuple[str, ...]
    places: tuple[Place, ...]
    says: tuple[str, ...]
    broken: Broken | None
    looks: tuple[Look, ...]
    once: tuple[str, ...]
    holds: tuple[tuple[str, ...], ...]
    remedy: Mapping[str, Any] | None
    ready: float
    edit: float
    sample: bool
    f5: bool

    @property
    def text(self) -> str:
        """What the page shows first."""
        return self.places[0].text if self.places else ""


_KEYS = {field.name for field in fields(Expectation)} - {"name", "kind", "places", "looks"} | {
    "expect",
    "file",
    "text",
    "place",
    "look",
}


def parse(name: str, content: str) -> Expectation:
    """Of an expect.toml. ExpectationError."""
    try:
        raw = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise ExpectationError(f"{name}/{FILE}: {error}") from error
    if unknown := sorted(raw.keys() - _KEYS):
        raise ExpectationError(f"{name}/{FILE}: unknown field {', '.join(unknown)}; known are {', '.join(sorted(_KEYS))}")
    kind = raw.get("expect", "up")
    if kind not in _KINDS:
        raise ExpectationError(f"{name}/{FILE}: expect is one of {', '.join(_KINDS)}, not {kind!r}")
    places = tuple(_place(name, item) for item in ([raw] if "file" in raw else []) + raw.get("place", []))
    if kind != "told" and not places:
        raise ExpectationError(f"{name}/{FILE}: a project that comes up needs file and text, which say what to edit")
    if kind != "up" and not raw.get("says"):
        raise ExpectationError(f"{name}/{FILE}: a project that cannot come up needs says, the words of the right sentence")
    return Expectation(
        name=name,
        framework=str(raw.get("framework", name)),
        kind=kind,
        generator=str(raw.get("generator", "")),
        setup=tuple(raw.get("setup", ())),
        places=places,
        says=tuple(raw.get("says", ())),
        broken=_broken(name, raw["broken"], places) if "broken" in raw else None,
        looks=tuple(Look(item.get("path", ""), item.get("script", ""), item["text"]) for item in raw.get("look", ())),
        once=tuple(raw.get("once", ())),
        holds=tuple(map(tuple, raw.get("holds", ()))),
        remedy=raw.get("remedy"),
        ready=float(raw.get("ready", READY_SECONDS)),
        edit=float(raw.get("edit", EDIT_SECONDS)),
        sample=bool(raw.get("sample", False)),
        f5=bool(raw.get("f5", False)),
    )


def load(folder: Path) -> Expectation:
    """Of a project's folder. ExpectationError, OSError."""
    return parse(folder.name, (folder / FILE).read_text())


def _place(name: str, raw: Mapping[str, Any]) -> Place:
    if not raw.get("file") or not raw.get("text"):
        raise ExpectationError(f"{name}/{FILE}: an edit needs file and text")
    return Place(raw["file"], raw["text"])


def _broken(name: str, raw: Mapping[str, Any], places: tuple[Place, ...]) -> Broken:
    file = raw.get("file") or (places[0].file if places else "")
    if not file or not raw.get("shows") or ("append" in raw) == ("find" in raw):
        raise ExpectationError(f"{name}/{FILE}: broken needs shows, a file, and either append or find with write")
    return Broken(file, raw.get("find", ""), raw.get("write", ""), raw.get("append", ""), tuple(raw["shows"]))
