"""The body of a JSON sync, read with memory that its bytes bound, whatever its characters and whatever its shape.

Python keeps a text in one, two or four bytes a character, by its widest one, and a parsed value takes many times the two bytes of
``{}``. So the bytes are read as Latin-1, one character each, with escapes spelt out as UTF-8 first; strings are taken one by one,
those of one file at a time; and what has no place in a sync is refused where it stands, before it is built.

Most in memory at once: the text, one string, and its content, three times the body.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import re
import weakref
from collections.abc import Iterator, Mapping
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, ClassVar

from runner_agent import paths
from runner_agent.sync_options import DEFAULTS, Options, bad, options
from runner_agent.sync_stage import Stage, over
from sandbox_protocol.errors import Cause, StatusError
from sandbox_protocol.limits import SyncLimits

_LARGE = 4 * 1024 * 1024
"""Bytes from which a body is the only one of its kind: four of 64 MiB would not leave room for one to be read."""
_PIECE = 128 * 1024
"""Bytes that are looked at once for being UTF-8: as a text they can take four times as many."""
_WIDE = 64 * 1024
"""Bytes of a text, other than content, that is not ASCII. Paths have at most 1024."""
_SPACE = re.compile(r"[ \t\n\r]*")
_ATOM = re.compile(r"null|true|false|-?(?:0|[1-9][0-9]{0,29})(?:\.[0-9]{1,30})?(?:[eE][-+]?[0-9]{1,3})?")
_ATOMS: dict[str, Any] = {"null": None, "true": True, "false": False}
_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{4}(?:\\u[0-9a-fA-F]{4}){0,255}|.)", re.DOTALL)
_BODY = frozenset({"files", "delete", *DEFAULTS, "kind", "apiVersion"})
_FILE = frozenset({"path", "content", "contentBase64", "mode"})


class JsonBody:
    """``{"files":[{"path","content"|"contentBase64","mode"?}],"delete":[paths],"mode","restart","drift"}``: :meth:`feed` its
    bytes, then :meth:`finish`. StatusError 400 names a field; 413; 429 while another large one is being read."""

    _large: ClassVar[weakref.ref[JsonBody] | None] = None

    def __init__(self, stage: Stage, limits: SyncLimits) -> None:
        self._stage, self._allowed = stage, limits.json_body_bytes
        self._bytes = bytearray()

    def feed(self, piece: bytes) -> None:
        self._bytes += piece
        if len(self._bytes) > self._allowed:
            raise over("json_body_bytes", f"the JSON has more than {self._allowed} bytes", self._allowed)
        if len(self._bytes) > _LARGE:
            other = JsonBody._large and JsonBody._large()
            if other is not None and other is not self:
                message = "another large JSON sync is being received; try again in a second, or send a tar"
                raise StatusError(429, message, retry_after=1)
            JsonBody._large = weakref.ref(self)

    def finish(self) -> Options:
        received, self._bytes = self._bytes, bytearray()
        try:
            return _Reader(_narrow(received), self._stage).body()
        except json.JSONDecodeError as error:
            raise _no_json(f"{error.msg} (byte {error.pos})") from error
        finally:
            if JsonBody._large and JsonBody._large() is self:
                JsonBody._large = None


def _no_json(why: str) -> StatusError:
    return StatusError(400, f"the body is not JSON: {why[:200]}")


def _narrow(received: bytearray) -> str:
    """The bytes as Latin-1, each escape above ASCII spelt out in UTF-8. ``received`` is emptied."""
    if fault := _utf8_fault(received):
        raise _no_json(fault)
    spelt = _spelt_out(received) if b"\\u" in received else received
    if spelt is not received:
        received.clear()
    text = spelt.decode("latin-1")
    spelt.clear()
    return text


def _utf8_fault(data: bytes | bytearray) -> str:
    if data.isascii():
        return ""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for at in range(0, len(data), _PIECE):
            decoder.decode(data[at : at + _PIECE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return str(error)
    return ""


def _spelt_out(received: bytearray) -> bytearray:
    """Halves of pairs that stand alone become what UTF-8 does not have, so that they are found again where they count."""
    out, done, at = bytearray(), 0, 0
    while found := _ESCAPE.search(received, at):
        at = found.end()
        if found[0][1:2] != b"u" or len(found[0]) < 6:
            continue
        text = json.loads(b'"%s"' % found[0])
        if "\ud800" <= text[-1] <= "\udbff" and len(text) > 1 and received[at : at + 2] == b"\\u":
            text, at = text[:-1], at - 6  # its other half may follow
        out += received[done : found.start()]
        out += json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass")
        done = at
    out += received[done:]
    return out


def _wide(text: str, field: str) -> str:
    """What a narrow text says."""
    if text.isascii():
        return text
    if len(text) > _WIDE:
        raise bad(field, f"has {len(text)} bytes; {_WIDE} are allowed")
    return text.encode("latin-1").decode("utf-8", "surrogatepass")


class _Reader:
    """From the front to the end of a narrow text, at ``at``."""

    def __init__(self, text: str, stage: Stage) -> None:
        self._text = text
        self._at = 0
        self._stage = stage
        self._entries = 0

    def body(self) -> Options:
        chosen = dict(DEFAULTS)
        for key in self._members("the body", _BODY):
            if key == "files":
                for index in self._items(key):
                    self._file(f"files[{index}]")
            elif key == "delete":
                for index in self._items(key):
                    field = f"delete[{index}]"
                    self._counted()
                    path = self._value(field)
                    if not isinstance(path, str):
                        raise bad(field, "must be a string")
                    self._stage.delete(_wide(path, field))
            else:
                value = self._value(key)
                if key in chosen:
                    chosen[key] = _wide(value, key) if isinstance(value, str) else value
        self._space()
        if self._at < len(self._text):
            raise self._malformed("something follows the end")
        return options(*chosen.values())

    def _counted(self) -> None:
        """The stage counts what it takes; a list of what it refuses would take minutes."""
        self._entries += 1
        allowed = self._stage.limits.files
        if self._entries > allowed:
            raise over("files", f"the sync has more than {allowed} entries", allowed)

    def _file(self, field: str) -> None:
        self._counted()
        found = {key: self._value(f"{field}.{key}") for key in self._members(field, _FILE)}
        path = found.get("path")
        if not isinstance(path, str):
            raise bad(f"{field}.path", "must be a string")
        path = _wide(path, f"{field}.path")
        content = _content(found, field)
        mode = _mode(found.get("mode"), f"{field}.mode")
        found.clear()  # its text is not needed any more
        if path.endswith("/"):
            self._stage.refuse(Cause(paths.shown(path), "InvalidPath", "a file's path cannot end with '/'"))
            return
        self._stage.file(path, mode, len(content))
        self._stage.data(content)
        self._stage.end_file()

    # -- JSON (RFC 8259)

    def _space(self) -> str:
        """The character behind white space, "" at the end."""
        space = _SPACE.match(self._text, self._at)
        assert space is not None
        self._at = space.end()
        return self._text[self._at : self._at + 1]

    def _take(self, character: str) -> None:
        if self._space() != character:
            raise self._malformed(f"expecting {character!r}")
        self._at += 1

    def _malformed(self, why: str) -> json.JSONDecodeError:
        return json.JSONDecodeError(why, self._text[:0], self._at)

    def _string(self) -> str:
        self._take('"')
        value, self._at = scanstring(self._text, self._at, True)
        return str(value)

    def _value(self, field: str) -> Any:
        """Of a field that takes no object and no list."""
        start = self._space()
        if start == '"':
            return self._string()
        if start in ("{", "["):
            raise bad(field, "must be a string, or what else its description says, and no object or list")
        atom = _ATOM.match(self._text, self._at)
        if atom is None:
            raise self._malformed("expecting a value")
        self._at = atom.end()
        return _ATOMS[atom[0]] if atom[0] in _ATOMS else json.loads(atom[0])

    def _members(self, name: str, known: frozenset[str]) -> Iterator[str]:
        """Each key of an object; whoever takes it reads its value before the next."""
        if self._space() != "{":
            raise bad(name, "must be an object") if self._any() else self._malformed("expecting a value")
        self._at += 1
        seen: set[str] = set()
        if self._space() == "}":
            self._at += 1
            return
        while True:
            key = self._string()
            if key not in known:
                shown = paths.shown(key[: _WIDE // 256].encode("latin-1").decode("utf-8", "replace"))
                raise bad(
                    f"{'' if known is _BODY else name + '.'}{shown}", f"is not a field here; {', '.join(sorted(known))} are"
                )
            if key in seen:  # readers of JSON do not agree which of two equal names counts (RFC 8259 §4)
                raise bad(key, "is given twice in one object")
            seen.add(key)
            self._take(":")
            yield key
            if self._space() == "}":
                self._at += 1
                return
            self._take(",")

    def _items(self, field: str) -> Iterator[int]:
        """The number of each item of a list, or none for null; whoever takes it reads the item before the next."""
        if self._space() != "[":
            if self._text.startswith("null", self._at):
                self._at += len("null")
                return
            raise bad(field, "must be a list") if self._any() else self._malformed("expecting a value")
        self._at += 1
        if self._space() == "]":
            self._at += 1
            return
        index = 0
        while True:
            yield index
            index += 1
            if self._space() == "]":
                self._at += 1
                return
            self._take(",")

    def _any(self) -> bool:
        """Whether a value of some other kind begins here."""
        return self._text[self._at : self._at + 1] in ('"', "[", "{") or _ATOM.match(self._text, self._at) is not None


def _content(file: Mapping[str, Any], field: str) -> bytes:
    text, encoded = file.get("content"), file.get("contentBase64")
    if (text is None) == (encoded is None):
        raise bad(field, "needs either content or contentBase64")
    if text is not None:
        if not isinstance(text, str):
            raise bad(f"{field}.content", "must be a string")
        content = text.encode("latin-1")
        if _utf8_fault(content):
            raise bad(f"{field}.content", "holds half a surrogate pair; send contentBase64")
        return content
    if not isinstance(encoded, str):
        raise bad(f"{field}.contentBase64", "must be a string")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise bad(f"{field}.contentBase64", "is not base64") from None


def _mode(value: object, field: str) -> int:
    """An octal string, or a number as Kubernetes writes modes in JSON (420 is 0644); setuid and the like are dropped."""
    if value is None:
        return 0o644
    if isinstance(value, str) and (digits := value.removeprefix("0o")) and len(digits) <= 6 and not digits.strip("01234567"):
        return int(digits, 8) & 0o777
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o777:
        return value
    raise bad(field, 'must be an octal string such as "0644", or a number up to 511 (420 is 0644)')
