"""The one way from the plugin to a person's terminal or pipe. What is printed may be an app's own text, which is not trusted.

Left out are control characters and sequences, which move the cursor, write the clipboard or ask the terminal to answer, and
characters that show text in another order than it has. Colours stay where they are wanted. A pipe gets the same: what stands
behind it is often a terminal.
"""

from __future__ import annotations

import codecs
import re
import sys
from typing import TextIO

_CONTROL = re.compile(
    r"(\x1b\[[0-9;:]*m)"  # colours
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: cursor, screen, modes
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: title, clipboard, links
    r"|[\x00-\x08\x0a-\x1f\x7f-\x9f]"
    r"|[\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\U000e0000-\U000e007f]"  # order, line ends, notes, tags
)
_HALVES = re.compile("[\ud800-\udfff]")
"""Of characters: JSON can spell them, and no encoding can write them."""
_UNFINISHED = re.compile(r"\x1b(?:\[[0-9;:]{0,32})?\Z")


def clean(line: str, *, colours: bool = False) -> str:
    """One line for a terminal; a line end within it goes, a tab stays."""
    kept = _CONTROL.sub((lambda match: match[1] or "") if colours else "", line)
    return _HALVES.sub("\ufffd", kept)


def plain(text: str) -> str:
    """Several lines, each :func:`clean`."""
    return "\n".join(map(clean, text.split("\n")))


def one_line(text: object) -> str:
    """What stands within a line of ours: a line end in it must not begin another one, which would pass for ours."""
    return clean(re.sub(r"[\r\n]+", " ", str(text)))


def say(text: str = "", *, error: bool = False, flush: bool = False) -> None:
    """Prints ``text``, whose line ends are the caller's."""
    _write(sys.stderr if error else sys.stdout, plain(text) + "\n", flush=flush)


def say_shown(text: str, *, flush: bool = False) -> None:
    """Prints what :class:`sandbox_client.log_printing.Printer` has cleaned, with its colours."""
    _write(sys.stdout, text, flush=flush)


def say_content(content: bytes) -> None:
    """A file: as it is for a program, cleaned for a person."""
    if sys.stdout.isatty():
        _write(sys.stdout, plain(content.decode(errors="replace")), flush=True)
        return
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


class Stream:
    """What a program writes, in pieces, for a terminal: colours, tabs, line ends and returns to a line's begin stay."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def show(self, data: bytes) -> str:
        text = self._held + self._decoder.decode(data)
        cut = _UNFINISHED.search(text)
        self._held = text[cut.start() :] if cut else ""
        return _lines(text[: cut.start()] if cut else text)

    def end(self) -> str:
        """What was held back as it could have been the begin of a colour, and ours: no colour goes on behind it."""
        return _lines(self._held + self._decoder.decode(b"", final=True)) + "\x1b[0m"


def _lines(text: str) -> str:
    return "".join(part if part in "\r\n" else clean(part, colours=True) for part in re.split(r"([\r\n])", text))


def _write(out: TextIO, text: str, *, flush: bool) -> None:
    encoding = out.encoding or "utf-8"
    out.write(text.encode(encoding, "replace").decode(encoding))
    if flush:
        out.flush()
