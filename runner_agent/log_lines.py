"""Lines of a log as a person reads them on a page: without terminal codes, repeats folded, the right ones chosen. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SHOWN_LINES = 40
_TIMES = "\N{MULTIPLICATION SIGN}"
_LINE_CHARACTERS = 300
_LEAD = 4
"""Lines shown before the first that names an error: Node prints the place in the source above the name of the error."""
_TERMINAL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours and movements (ECMA-48 CSI)
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles and links (OSC)
    r"|\x1b[ -/]*[0-~]"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
)
_ERROR = re.compile(
    r"Traceback \(most recent call last\)"
    r"|\b\w*(?:Error|Exception)\b|\b(?:npm|pnpm|yarn) err|\berror\b\W|\bERR!|\bfatal\b|\bpanic:|ERESOLVE"
    r"|cannot find|not found|EADDRINUSE|\bfailed\b",
    re.IGNORECASE,
)
_NO_ERROR = re.compile(r"\b(?:0|no) (?:errors?|vulnerabilities)\b|\bwarn(?:ing)?\b|\bHTTP/1\.", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """``from_error``: it begins at what went wrong, and is read from its top; else its newest line matters."""

    lines: tuple[str, ...] = ()
    from_error: bool = False


_ASIDE = re.compile(
    r"(?<!web )\b(?:UI|inspector|debugger|devtools|metrics|studio)\b[^:/]{0,20}:\s*"
    r"(?:https?|wss?)://[\w.\[\]:-]{1,60}?:(\d{2,5})/?(?=\s|$)",
    re.IGNORECASE,
)


def asides(lines: Iterable[str]) -> frozenset[int]:
    """Ports that an app announces as something beside itself: ``UI: http://localhost:3001`` of Browsersync."""
    return frozenset(int(match[1]) for line in lines if (match := _ASIDE.search(plain(line))))


def plain(line: str) -> str:
    """A line without terminal codes; of one that was overwritten in place (a progress bar) what it said last."""
    text = _TERMINAL.sub("", line.rstrip("\r")).rpartition("\r")[2].rstrip()
    return text if len(text) <= _LINE_CHARACTERS else text[: _LINE_CHARACTERS - 1] + "…"


def folded(lines: Iterable[str]) -> list[str]:
    """Equal lines in a row become one that says how often."""
    made: list[tuple[str, int]] = []
    for line in lines:
        if made and made[-1][0] == line:
            made[-1] = (line, made[-1][1] + 1)
        else:
            made.append((line, 1))
    return [line if count == 1 else f"{line}  {_TIMES} {count}" for line, count in made]


def excerpt(lines: Iterable[str], *, failed: bool) -> Excerpt:
    """At most SHOWN_LINES of a run: after a failure from its first error on, if that lies among the newest ones."""
    read = folded(text for line in lines if (text := plain(line)).strip())
    newest = read[-SHOWN_LINES:]
    if failed:
        for part in (newest, read):
            at = first_error(part)
            if at is not None:
                start = max(0, at - _LEAD)
                return Excerpt(tuple(part[start : start + SHOWN_LINES]), from_error=True)
    return Excerpt(tuple(newest))


def first_error(lines: Sequence[str]) -> int | None:
    """Index of the first line that tells of an error."""
    return next((i for i, line in enumerate(lines) if _ERROR.search(line) and not _NO_ERROR.search(line)), None)


def lasted(seconds: float) -> str:
    """A duration in words of a person: ``8 s``, ``1 min 5 s``, ``2 h 3 min``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
