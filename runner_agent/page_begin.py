"""Where the head of a page begins: what stands before it is read as browsers read it (HTML Standard, 13.2.5). Pure.

Only what may stand there is known: white space, comments, declarations, ``<html>`` and ``<head>``. The first other thing ends it.
"""

from __future__ import annotations

import re

UTF8_MARK = b"\xef\xbb\xbf"
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"<\0?\0x\0", b"\0<\0?\0x")
"""How a page of two bytes a character begins: marks of byte order, and ``<?x`` in either order."""
_SPACE = re.compile(rb"[\t\n\f\r ]*+")
_ATTRIBUTES = (
    rb"(?=[\t\n\f\r />])(?:[\t\n\f\r /]++|[^\t\n\f\r />][^\t\n\f\r />=]*+"
    rb"(?:[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:\"[^\"]*+\"|'[^']*+'|[^\t\n\f\r \"'>][^\t\n\f\r >]*+|(?=>))|(?![\t\n\f\r ]*+=)))*+>"
)
"""From the name of a tag to its end: a ``>`` between quotes is part of a value, and a quote within a value without is none."""
_HEAD = re.compile(rb"<head" + _ATTRIBUTES, re.IGNORECASE)
_PASSED = re.compile(
    rb"<!--(?:-?>|.*?--!?>)|<(?:!(?!--)|\?)[^>]*+>|<html" + _ATTRIBUTES,
    re.DOTALL | re.IGNORECASE,
)
_UNFINISHED = re.compile(rb"<[!?]|<(?:html|head)[\t\n\f\r /]", re.IGNORECASE)


def is_wide(page: bytes) -> bool:
    """Whether its first bytes say that a character takes two: what is put between them would shift all that follows."""
    return page.startswith(_WIDE)


def place(page: bytes, *, ended: bool) -> int | None:
    """Index behind ``<head>``, or before the first thing that may not stand before it. None while more must be read to know; with
    ``ended`` no more comes, and a page that is in the middle of something has no place: a script before a document type that is
    still to come would change how the page looks."""
    if not ended and any(known.startswith(page) for known in (*_WIDE, UTF8_MARK)):
        return None
    at = len(UTF8_MARK) if page.startswith(UTF8_MARK) else 0
    while True:
        space = _SPACE.match(page, at)
        at = at if space is None else space.end()
        if (head := _HEAD.match(page, at)) is not None:
            return head.end()
        passed = _PASSED.match(page, at)
        if passed is None:
            break
        at = passed.end()
    if at == len(page):
        return at if ended else None
    rest = page[at : at + 6].lower()
    begun = any(known.startswith(rest) for known in (b"<!", b"<?", b"<html", b"<head"))
    return None if begun or _UNFINISHED.match(page, at) else at
