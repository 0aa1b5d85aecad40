"""How ``kubectl sandbox logs`` shows records: where a person looks on, with the process's name in front, in its colour. Pure."""

from __future__ import annotations

import re

from sandbox_client.records import LogRecord

_COLOURS = (36, 32, 33, 35, 34, 31)
_FIXED = {"agent": 90, "install": 37}
_WIDTH = 8
"""Of the names: most are shorter, and lines begin below each other."""
_CONTROL = re.compile(
    r"(\x1b\[[0-9;:]*m)"  # colours, which stay
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: cursor, screen, modes
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: title, clipboard, links
    r"|[\x00-\x08\x0a-\x1f\x7f-\x9f]"
)


def plain(text: str) -> str:
    """What an app says, without what would move the terminal's cursor, or its colours; lines stay."""
    return "\n".join(_CONTROL.sub("", line) for line in text.split("\n"))


class Printer:
    """``terminal``: in colours, and without what an app could do to a terminal with control sequences (its colours stay)."""

    def __init__(self, *, prefix: bool, terminal: bool, timestamps: bool) -> None:
        self._prefix = prefix
        self._terminal = terminal
        self._timestamps = timestamps
        self._colours: dict[str, int] = dict(_FIXED)
        self._within: tuple[str, str] | None = None

    def show(self, record: LogRecord) -> str:
        """What to print, line end included; parts of a line are joined unless another process comes between."""
        writer = (record.process, record.stream)
        text = _harmless(record.text) if self._terminal else record.text
        start = ""
        if self._within != writer:
            start = ("\n" if self._within is not None else "") + self._head(record)
        self._within = writer if record.partial else None
        return f"{start}{text}{'' if record.partial else self._end(text)}"

    def _head(self, record: LogRecord) -> str:
        time = f"{record.time.isoformat(timespec='milliseconds').replace('+00:00', 'Z')} " if self._timestamps else ""
        if not self._prefix:
            return time
        name = f"{record.process:<{_WIDTH}} | "
        if self._terminal:
            colour = self._colours.setdefault(record.process, _COLOURS[(len(self._colours) - len(_FIXED)) % len(_COLOURS)])
            name = f"\x1b[{colour}m{name}\x1b[0m"
        return time + name

    def _end(self, text: str) -> str:
        return "\x1b[0m\n" if self._terminal and "\x1b" in text else "\n"


def _harmless(text: str) -> str:
    """A progress bar that wrote its line again and again is shown as it ended."""
    return _CONTROL.sub(lambda match: match[1] or "", text.rpartition("\r")[2])
