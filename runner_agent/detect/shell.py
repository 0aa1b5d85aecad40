"""Scripts as a shell would read them, for the simple cases: words, quotes, and the operators between commands.

What is not simple (substitutions of commands, loops, redirections, groups) is not understood, and then nothing of the script
is changed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

SEPARATORS = ("&&", "||", ";", "&", "|")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_VARIABLE = re.compile(r"\$\{\w+(:?[-=+?][^{}`$()<>|&;\s]*)?\}")
"""``${PORT:-3000}``: a word's part that any program gets as a value."""
_NOT_SIMPLE = re.compile(r"`|\$\(|<|>|\n|^\s*(if|for|while|case|until|function)\b|[(){}]")


@dataclass(frozen=True, slots=True)
class Word:
    """``raw`` as it stands in the script, ``value`` as the program gets it (variables stay as written)."""

    raw: str
    value: str


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command, and the operator that follows it ("" at the end of the script)."""

    words: tuple[Word, ...]
    separator: str

    @property
    def assignments(self) -> tuple[Word, ...]:
        """``A=b`` before the program."""
        count = next((i for i, word in enumerate(self.words) if not _ASSIGNMENT.fullmatch(word.raw)), len(self.words))
        return self.words[:count]

    @property
    def program(self) -> tuple[Word, ...]:
        return self.words[len(self.assignments) :]


def parse(script: str) -> tuple[Command, ...] | None:
    """The commands of a script; None when it is not simple."""
    commands: list[Command] = []
    words: list[Word] = []
    at = 0
    while at < len(script):
        if script[at].isspace():
            at += 1
            continue
        operator = next((each for each in SEPARATORS if script.startswith(each, at)), None)
        if operator is not None:
            if not words:
                return None
            commands.append(Command(tuple(words), operator))
            words = []
            at += len(operator)
            continue
        end = _end_of_word(script, at)
        if end is None:
            return None
        raw = script[at:end]
        try:
            values = shlex.split(raw, comments=False)
        except ValueError:
            return None
        if len(values) > 1 or (raw[0] not in "'\"" and _NOT_SIMPLE.search(_unquoted(raw))):
            return None
        words.append(Word(raw, values[0] if values else ""))
        at = end
    if words:
        commands.append(Command(tuple(words), ""))
    return tuple(commands)


def words(values: Sequence[str]) -> tuple[Word, ...]:
    """Words of a command that no shell has read."""
    return tuple(Word(shlex.quote(value), value) for value in values)


def joined(parts: Sequence[Word]) -> str:
    return " ".join(part.raw for part in parts)


def _end_of_word(script: str, at: int) -> int | None:
    """Index after the word that begins at ``at``; None for a quote that does not end."""
    quote = ""
    while at < len(script):
        char = script[at]
        if char == "\\" and quote != "'":
            at += 2
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char.isspace() or char in "&|;":
            return at
        at += 1
    return None if quote else min(at, len(script))


def _unquoted(raw: str) -> str:
    return _VARIABLE.sub("", re.sub(r"'[^']*'|\"[^\"]*\"", "", raw))
