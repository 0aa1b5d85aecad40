"""What is found out about one script: the records that its reading passes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from runner_agent.detect.packages import Package
from runner_agent.detect.reading import Reader

_EVERYTHING = ("",)
"""Suffix of all files: nobody tells what a build reads."""


@dataclass(frozen=True, slots=True)
class Aimed:
    """``text`` is the script to run. ``appended``: what follows the script's own text, where nothing else is changed; None
    otherwise.

    ``rank`` compares programs of one script: 3 is a front end's dev server, 2 another known server, 1 an unknown program, 0
    work that ends.
    ``below``: files or folders whose sources concern it; empty for the whole tree. ``own_port`` is where it would serve by
    itself, 0 when that is not known; ``waits_for`` are ports that it waits for before it begins. ``shows_build``: it serves what
    another command must have built before. ``builds``: some of it makes files for another program.
    """

    text: str
    appended: tuple[str, ...] | None = ()
    rank: int = 1
    tool: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    loads_once: tuple[str, ...] = ()
    reloads: bool = False
    below: tuple[str, ...] = ()
    own_port: int = 0
    waits_for: frozenset[int] = frozenset()
    shows_build: bool = False
    builds: bool = False

    def after(self, earlier: Sequence[Aimed]) -> Aimed:
        """This program behind others: with a build among them, each edit needs them all once more."""
        built = any(other.builds for other in earlier) and not self.reloads
        return replace(self, loads_once=_EVERYTHING, below=(), shows_build=False) if built else self


@dataclass(frozen=True, slots=True)
class Context:
    """``package`` is the one whose script is read; ``port`` None when the program's own choice shall stand."""

    read: Reader
    package: Package
    port: int | None
    depth: int = 0

    def of(self, package: Package) -> Context:
        return replace(self, package=package, depth=self.depth + 1)


Aim = Callable[[str, Context], Aimed]
"""Reads a script of ``Context.package``, by its text or its name: what scripts that call scripts need of
:mod:`runner_agent.detect.scripts`."""
