"""docs/apps.md, and the line that a run prints for each project. Pure, over records."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from devcluster.settings import REPOSITORY
from tests.apps.results import Record

PAGE = REPOSITORY / "docs" / "apps.md"

_HEAD = """# Apps

Written by `make test-apps`, which brings each project of `tests/apps/corpus` up in a sandbox of the development cluster: from an
empty spec and `kubectl sandbox sync`, seen in Chromium by its preview. It edits the open page three times, kills the agent and
deletes the pod in between, breaks the app and mends it again. A new project is a new folder there.

ready: first sync until the page is there. edit: sync begun until the open page shows it, median of three. Both on two shared
cores, two projects at a time.

{summary}

| project | framework | detected as | installed by | install | ready | edit p50 | broken edit | notes |
|---|---|---|---|--:|--:|--:|---|---|
{rows}
"""
_TOLD = """
## What cannot come up says what to do

| project | framework | what the page says | notes |
|---|---|---|---|
{rows}
"""
_FAILED = """
## What does not do what it should

| project | framework | detected as | what happened |
|---|---|---|---|
{rows}
"""


def render(records: Sequence[Record], revision: str) -> str:
    """The whole page; rows of another ``revision`` of the product are marked."""
    up = [record for record in records if record.passed and record.verdict == "up"]
    told = [record for record in records if record.passed and record.verdict == "told"]
    failed = [record for record in records if not record.passed]
    text = _HEAD.format(summary=summary(records), rows="\n".join(_up_row(record, revision) for record in up))
    if told:
        text += _TOLD.format(rows="\n".join(_told_row(record, revision) for record in told))
    if failed:
        text += _FAILED.format(rows="\n".join(_failed_row(record, revision) for record in failed))
    return text


def summary(records: Sequence[Record]) -> str:
    """How many of the sound projects came up, and how many of all did what they should."""
    sound = [record for record in records if record.expected == "up"]
    up = [record for record in sound if record.verdict == "up"]
    well = [record for record in records if record.passed]
    share = f" ({100 * len(up) / len(sound):.0f} %)" if sound else ""
    return (
        f"{len(up)} of {len(sound)} sound projects came up by themselves{share}; "
        f"{len(well)} of all {len(records)} did all that they should."
    )


def line(record: Record) -> str:
    """For a terminal, when a project ends."""
    word = "ok   " if record.passed else "FAIL "
    parts = [record.verdict, f"ready {_seconds(record.ready)}", f"edits {' '.join(map(_seconds, record.edits)) or '-'}"]
    told = record.failure or "; ".join(record.notes) or record.says
    return f"{word}{record.project:<24}{record.seconds:6.0f} s  {', '.join(parts)}  {_cut(told, 160)}"


def _up_row(record: Record, revision: str) -> str:
    edit = statistics.median(record.edits) if record.edits else None
    times = [_seconds(record.install), _seconds(record.ready), _seconds(edit)]
    cells = [record.project, record.framework, _code(record.detected), _code(record.install_command), *times, record.broken]
    return _row([*cells, _notes(record, revision)])


def _told_row(record: Record, revision: str) -> str:
    return _row([record.project, record.framework, _cut(record.says, 400), _notes(record, revision)])


def _failed_row(record: Record, revision: str) -> str:
    told = "; ".join(filter(None, [_cut(record.failure, 400), _notes(record, revision)]))
    return _row([record.project, record.framework, _code(record.detected), told])


def _notes(record: Record, revision: str) -> str:
    notes = [*record.notes, *([] if record.revision == revision else ["of an earlier revision"])]
    return "; ".join(notes)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _code(text: str) -> str:
    return f"`{_cut(text, 90)}`" if text else "-"


def _cut(text: str, characters: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= characters else flat[: characters - 1] + "…"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
