"""A pattern of gitignore as a regular expression over bytes, which never takes exponential time.

git compares bytes (a ``?`` is one byte of UTF-8), so this does. What it calls wildmatch: ``*`` and ``?`` stop at a slash, ``**``
between slashes spans any number of components, a ``[`` opens a set with ranges, classes such as ``[:digit:]``, and ``!`` or ``^``
in front, a backslash takes the next byte as it is. What git cannot read (a set without end, a backslash at the end) matches
nothing.

Whoever writes the pattern may be hostile. Of several ways in which a ``*`` can match, only the shortest that lets the next piece
match is ever tried (an atomic group); that suffices, because the pieces between two stars have no star in them.
"""

from __future__ import annotations

import re

NOTHING = rb"(?!)"
"""Matches no path."""

_CLASSES = {
    b"alnum": rb"0-9A-Za-z",
    b"alpha": rb"A-Za-z",
    b"blank": rb" \t",
    b"cntrl": rb"\x00-\x1f\x7f",
    b"digit": rb"0-9",
    b"graph": rb"!-~",
    b"lower": rb"a-z",
    b"print": rb" -~",
    b"punct": rb"!-/:-@\[-`{-~",
    b"space": rb"\t-\r ",
    b"upper": rb"A-Z",
    b"xdigit": rb"0-9A-Fa-f",
}

_STAR, _SLASH, _STARS = "*", "/", "**"
_Token = bytes | str
"""A regular expression for one byte, or one of the three marks above."""


class _UnreadableError(Exception):
    """git would not match anything by this pattern."""


def translate(pattern: bytes) -> bytes:
    """For ``re.fullmatch`` against a whole path without slashes at its ends."""
    try:
        tokens = _tokens(pattern)
    except _UnreadableError:
        return NOTHING
    components: list[list[_Token]] = [[]]
    for token in tokens:
        if token is _SLASH:
            components.append([])
        else:
            components[-1].append(token)
    # what stands between two "**" is found as early as possible, as in a component what stands between two "*"
    runs = [b""]
    for at, component in enumerate(components):
        last = at == len(components) - 1
        if component == [_STARS]:
            if last:
                runs[-1] += rb".+"
            elif runs[-1] or len(runs) == 1:  # several in a row say the same as one
                runs.append(b"")
        else:
            runs[-1] += _component(component) + (b"" if last else b"/")
    if len(runs) == 1:
        return runs[0]
    found = [runs[0], *(rb"(?>(?:[^/]+/)*?" + run + rb")" for run in runs[1:-1])]
    return b"".join(found) + rb"(?:[^/]+/)*" + runs[-1]


def _component(tokens: list[_Token]) -> bytes:
    """Of the pieces between stars all but the first and the last are found as early as possible."""
    pieces: list[bytes] = [b""]
    for token in tokens:
        if isinstance(token, bytes):
            pieces[-1] += token
        elif token is _STARS or pieces[-1] or len(pieces) == 1:
            pieces.append(b"")
    if len(pieces) == 1:
        return pieces[0] or NOTHING
    found = [pieces[0], *(rb"(?>[^/]*?" + piece + rb")" for piece in pieces[1:-1] if piece)]
    return b"".join(found) + rb"[^/]*" + pieces[-1]


def _tokens(pattern: bytes) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(pattern):
        byte = pattern[at : at + 1]
        at += 1
        if byte == b"*":
            begin = at - 1
            while pattern[at : at + 1] == b"*":
                at += 1
            alone = (begin == 0 or pattern[begin - 1 : begin] == b"/") and pattern[at : at + 1] in (b"", b"/")
            tokens.append(_STARS if at - begin > 1 and alone else _STAR)
        elif byte == b"?":
            tokens.append(rb"[^/]")
        elif byte == b"[":
            token, at = _set(pattern, at)
            tokens.append(token)
        else:
            if byte == b"\\":
                byte = pattern[at : at + 1]
                at += 1
                if not byte:
                    raise _UnreadableError
            tokens.append(_SLASH if byte == b"/" else re.escape(byte))
    return tokens


def _set(pattern: bytes, at: int) -> tuple[bytes, int]:
    """What follows a ``[``, and where it ends. A set never matches a slash, whatever it names."""
    negated = pattern[at : at + 1] in (b"!", b"^") and at < len(pattern)
    at += negated
    inside, previous, first = b"", b"", True
    while True:
        byte = pattern[at : at + 1]
        if not byte:
            raise _UnreadableError
        if byte == b"]" and not first:
            at += 1
            break
        first = False
        if byte == b"-" and previous and pattern[at + 1 : at + 2] not in (b"", b"]"):
            end, at = _byte(pattern, at + 1)
            if previous <= end:
                inside += rb"\x%02x-\x%02x" % (previous[0], end[0])
            previous = b""
        elif byte == b"[" and pattern[at + 1 : at + 2] == b":":
            end_at = pattern.find(b"]", at + 2)
            if end_at < 0:
                raise _UnreadableError
            name = pattern[at + 2 : end_at - 1]
            if end_at == at + 2 or pattern[end_at - 1 : end_at] != b":":
                inside += rb"\["  # not a class after all: git goes on with the colon
                previous, at = b"[", at + 1
                continue
            if name not in _CLASSES:
                raise _UnreadableError
            inside += _CLASSES[name]
            previous, at = b"", end_at + 1
        else:
            byte, at = _byte(pattern, at)
            inside += rb"\x%02x" % byte[0]
            previous = byte
    if negated:
        return rb"[^/" + inside + rb"]", at
    return (rb"(?!/)[" + inside + rb"]" if inside else NOTHING), at


def _byte(pattern: bytes, at: int) -> tuple[bytes, int]:
    """The byte at ``at``, or the one that a backslash there takes as it is; and where the next one begins."""
    if pattern[at : at + 1] == b"\\":
        at += 1
    byte = pattern[at : at + 1]
    if not byte:
        raise _UnreadableError
    return byte, at + 1
