"""How ``kubectl sandbox logs`` shows records: where a person looks on, with the process's name in front, in its colour. Pure."""

from __future__ import annotations

from sandbox_client.printing import clean, one_line
from sandbox_client.records import LogRecord

_COLOURS = (36, 32, 33, 35, 34, 31)
_FIXED = {"agent": 90, "install": 37}
_WIDTH = 8
"""Of the names: most are shorter, and lines begin below each other."""


class Printer:
    """``colours``: ours for the names of processes, and those of the app. Whatever else an app could do to a terminal is left
    out always."""

    def __init__(self, *, prefix: bool, colours: bool, timestamps: bool) -> None:
        self._prefix = prefix
        self._coloured = colours
        self._timestamps = timestamps
        self._colours: dict[str, int] = dict(_FIXED)
        self._within: tuple[str, str] | None = None

    def show(self, record: LogRecord) -> str:
        """What to print, line end included; parts of a line are joined unless another process comes between."""
        writer = (record.process, record.stream)
        text = clean(record.text.rpartition("\r")[2], colours=self._coloured)  # of a progress bar, how it ended
        start = ""
        if self._within != writer:
            start = ("\n" if self._within is not None else "") + self._head(record)
        self._within = writer if record.partial else None
        return f"{start}{text}{'' if record.partial else self._end(text)}"

    def _head(self, record: LogRecord) -> str:
        time = f"{record.time.isoformat(timespec='milliseconds').replace('+00:00', 'Z')} " if self._timestamps else ""
        if not self._prefix:
            return time
        name = f"{one_line(record.process):<{_WIDTH}} | "
        if self._coloured:
            colour = self._colours.setdefault(record.process, _COLOURS[(len(self._colours) - len(_FIXED)) % len(_COLOURS)])
            name = f"\x1b[{colour}m{name}\x1b[0m"
        return time + name

    def _end(self, text: str) -> str:
        return "\x1b[0m\n" if self._coloured and "\x1b" in text else "\n"
