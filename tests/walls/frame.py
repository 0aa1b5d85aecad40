"""Attacks on the walls of a sandbox, each made with the wall (it must be refused) and without it (it must succeed).

To add an attack, write a parametrised test in this folder, one case an attack, that ends in one call of the fixture ``walls``::

    @pytest.mark.parametrize("attack", ["ptrace of the agent", …])
    def test_the_agent_cannot_be_touched(walls: Walls, attack: str, …) -> None:
        walls.refuse(
            attack, wall="container", profile="runc",
            inside=lambda: ptrace(…),   # against a runner
            outside=lambda: ptrace(…),  # the same where the wall is not, or a text: why that is not shown
        )

``inside`` and ``outside`` make the attempt and return an `Outcome`: ``through("uid=1000")`` or ``stopped("EPERM")``. What they
cannot tell (the probe itself failed) they raise. `Walls.allow` is for what a sandbox can do, so that no wall stands for lack of
anything behind it. Words of an outcome are printed on docs/isolation.md: no address, time or random name. Attacks of one test
with the same outcome share a line there.

`make test-walls` prints the table and writes the rows of the tests that ran onto that page; rows of other tests stay. To run
one file: ``make test-walls WALLS=tests/walls/test_network.py``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "isolation.md"

PROFILES = {
    "every sandbox": "Whatever the template says.",
    "runc": "The default: runc in a user namespace of its own.",
    "gvisor": "A template with the gVisor RuntimeClass: system calls end in a kernel of their own.",
    "egress none": "The default: a template without an egress profile.",
    "egress mirror": "`egress.profile: mirror`: the package mirrors that the template names.",
    "egress mirror with DNS": "The same with `egress.dns: cluster`, for mirrors known by name.",
    "egress public": "`egress.profile: public`: ports 80 and 443 of the public Internet.",
    "egress public with blocks": "The same with addresses in `egress.blocked`.",
}
"""The order of the page's sections and what each is about."""


@dataclass(frozen=True)
class Outcome:
    """Of one attempt. ``saw`` is what the attacker saw, in stable words."""

    through: bool
    saw: str


_BREAK = "<br>"


def through(saw: str) -> Outcome:
    return Outcome(True, saw)


def stopped(saw: str) -> Outcome:
    return Outcome(False, saw)


Attempt = Callable[[], Outcome]


@dataclass(frozen=True, order=True)
class Row:
    """A line of the table and of the page; ``test`` is ``file::function``."""

    profile: str
    wall: str
    attack: str
    inside: str
    outside: str
    test: str


class Walls:
    """The fixture: makes attempts, writes rows, and fails the test whose wall does not stand."""

    def __init__(self, test: str, rows: list[Row], profile: str = "every sandbox") -> None:
        """``profile`` is that of attempts that name none."""
        self._test = test
        self._rows = rows
        self._profile = profile

    def refuse(self, attack: str, *, wall: str, inside: Attempt, outside: Attempt | str, profile: str = "") -> None:
        """Attack where the wall is not, then where it is."""
        control = None if isinstance(outside, str) else outside()
        got = inside()
        shown = f"not shown: {outside}" if control is None else _words(control)
        self._rows.append(Row(profile or self._profile, wall, attack, _words(got), shown, self._test))
        assert not got.through, f"{attack}: went through: {got.saw}"
        assert control is None or control.through, f"{attack}: no wall, and yet: {control.saw}. The attempt proves nothing."

    def allow(self, what: str, *, wall: str, inside: Attempt, profile: str = "") -> None:
        """What must succeed with the wall standing."""
        got = inside()
        self._rows.append(Row(profile or self._profile, wall, what, _words(got, "allowed"), "", self._test))
        assert got.through, f"{what}: {got.saw}"


def _words(outcome: Outcome, verb: str = "succeeded") -> str:
    return f"{verb if outcome.through else 'refused'}: {outcome.saw}"


def table(rows: Iterable[Row]) -> str:
    """For the terminal: attack, with the wall, without it."""
    lines = [("attack", "with the wall", "without it")]
    lines += [(f"{row.profile}: {row.attack}", row.inside, row.outside) for row in sorted(rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(2)]
    return "\n".join(f"{one:<{widths[0]}}  {two:<{widths[1]}}  {three}".rstrip() for one, two, three in lines)


def render(rows: Iterable[Row]) -> str:
    """The page."""
    parts = [_INTRODUCTION]
    for profile, about in PROFILES.items():
        mine = sorted((row for row in rows if row.profile == profile), key=_together)
        if mine:
            parts.append(f"\n## {profile[0].upper()}{profile[1:]}\n\n{about}\n\n")
            parts.append("| wall | attack, or use | with the wall | without it | test |\n|---|---|---|---|---|\n")
            for same, group in itertools.groupby(mine, lambda row: (row.wall, row.inside, row.outside, row.test)):
                wall, inside, outside, test = map(_cell, same)
                attacks = _BREAK.join(_cell(row.attack) for row in group)
                parts.append(f"| {wall} | {attacks} | {inside} | {outside} | `{test}` |\n")
    return "".join(parts)


def parse(page: str) -> list[Row]:
    """The rows that `render` wrote."""
    rows, profile = [], ""
    for line in page.splitlines():
        if heading := re.fullmatch(r"## (.+)", line):
            profile = heading[1][0].lower() + heading[1][1:]
        elif line.startswith("| ") and line.endswith("` |"):
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            wall, attacks, inside, outside, test = cells
            rows += [Row(profile, wall, attack, inside, outside, test.strip("`")) for attack in attacks.split(_BREAK)]
    return rows


def merged(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """``new`` stands for all rows of the tests that it is about, in their profile; rows of tests that are gone go."""
    rows = list(new)
    replaced = {(row.profile, row.test) for row in rows}
    return [*(row for row in old if (row.profile, row.test) not in replaced and exists(row.test)), *rows]


def without(failed: Iterable[str], rows: Iterable[Row], *, gvisor: bool) -> list[Row]:
    """Tests that failed say nothing; ``gvisor`` tells below which kernel, as what they showed below the other one still holds."""
    silent = set(failed)
    return [row for row in rows if row.test not in silent or (row.profile == "gvisor") != gvisor]


def exists(test: str) -> bool:
    file, _, function = test.partition("::")
    path = ROOT / "tests" / "walls" / file
    return path.is_file() and re.search(rf"^(async )?def {re.escape(function)}\(", path.read_text(), re.MULTILINE) is not None


def _together(row: Row) -> tuple[str, ...]:
    """Attacks with the same end stand in one line of the page."""
    return row.wall, row.inside, row.outside, row.test, row.attack


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


_INTRODUCTION = """\
# What a sandbox can and cannot do

Every line was tried on a real cluster: by code in a sandbox, or by somebody who attacks one, with the wall standing and, where
that is safe, without it. `make test-walls` tries all of them again and prints this page from what it saw
(`tests/walls/frame.py` tells how to add one). [THREAT_MODEL.md](../THREAT_MODEL.md) has the reasons, and what is not defended.
"""
