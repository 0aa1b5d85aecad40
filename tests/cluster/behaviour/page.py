"""docs/behaviour.md, printed from the table. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from devcluster.settings import REPOSITORY
from tests.cluster.behaviour.table import STATES, TABLE, VERBS, Expected

PATH = REPOSITORY / "docs" / "behaviour.md"

_HEAD = """\
# What each verb answers

In each state of a runner, by code and in words. This page is printed from `tests/cluster/behaviour/table.py`, and
`tests/cluster/test_behaviour.py` asks a real cluster for each of its rows: a row that is not true fails there.
A failure is a `metav1.Status`. `…` stands for what differs from case to case, `⏎` for a new line. A preview answers a browser
with a small page, here as "heading: text". A dash means that the verb knows no such case.
"""


def render() -> str:
    return "\n".join([_HEAD, *_overview(), "", *(line for state in STATES for line in _section(state))])


def _overview() -> list[str]:
    states = list(STATES)
    lines = ["| | " + " | ".join(STATES[state][0] for state in states) + " |", "|---" * (len(states) + 1) + "|"]
    for verb, label in VERBS.items():
        codes = [str(TABLE[state][verb].code) if verb in TABLE[state] else "-" for state in states]
        lines.append(f"| {label} | " + " | ".join(codes) + " |")
    return lines


def _section(state: str) -> list[str]:
    title, how = STATES[state]
    lines = [f"## {title}", "", how, "", "| asked | code | reason | Retry-After | says |", "|---|---|---|---|---|"]
    for expected, verbs in _grouped(TABLE[state]).items():
        asked = ", ".join(VERBS[verb] for verb in verbs)
        retry = "" if expected.retry_after is None else f"{expected.retry_after} s"
        says = f"`{expected.says}`".replace("|", "\\|").replace("\n", "⏎") if expected.says else ""
        lines.append(f"| {asked} | {expected.code} | {expected.reason} | {retry} | {says} |")
    return [*lines, ""]


def _grouped(answers: Mapping[str, Expected]) -> dict[Expected, list[str]]:
    """Verbs that answer alike, in one row."""
    found: dict[Expected, list[str]] = {}
    for verb in VERBS:
        if verb in answers:
            found.setdefault(answers[verb], []).append(verb)
    return found
