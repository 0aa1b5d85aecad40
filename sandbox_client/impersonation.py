"""Whom a request acts as, beside whose credential it carries: what kubectl reads from a kubeconfig and from ``--as``.

The API server decides whether the owner of the credential may (verb ``impersonate``). What is asked for is sent or refused and
never left out: without it a request would act as the owner of the credential, often with more rights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sandbox_client.errors import ConfigError
from sandbox_protocol.entry_names import shown

PREFIX = "impersonate-"
"""Of the headers, in lower case."""


@dataclass(frozen=True, slots=True)
class Impersonation:
    """A user, and more about that user. Without a user there can be nothing else."""

    user: str = ""
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def changed_by(self, asked: Impersonation | None) -> Impersonation:
        """What ``asked`` sets in place of what stands here, field by field, as kubectl's flags do over a kubeconfig."""
        if asked is None:
            return self
        set_there = {name: value for name in ("user", "groups", "uid", "extra") if (value := getattr(asked, name))}
        return replace(self, **set_there)

    def headers(self) -> tuple[tuple[str, str], ...]:
        """One a value. Raises ConfigError for what a header cannot carry, or where the user is missing."""
        if not self.user:
            if self.groups or self.uid or self.extra:
                raise ConfigError("groups, a uid or extra to act with need a user to act as: add --as, or `as` to the kubeconfig")
            return ()
        return (
            ("Impersonate-User", _value(self.user)),
            *(("Impersonate-Group", _value(group)) for group in self.groups),
            *((("Impersonate-Uid", _value(self.uid)),) if self.uid else ()),
            *((f"Impersonate-Extra-{_key(key)}", _value(value)) for key, values in self.extra for value in values),
        )


def of_user_entry(user: Mapping[str, Any], file: Path) -> Impersonation:
    """From the fields of a kubeconfig's user. Raises ConfigError for what they cannot be."""
    groups, extra = user.get("as-groups") or [], user.get("as-user-extra") or {}
    if not _texts(groups):
        raise ConfigError(f"as-groups in {file} has to be a list of texts")
    if not isinstance(extra, Mapping) or not all(isinstance(key, str) and _texts(values) for key, values in extra.items()):
        raise ConfigError(f"as-user-extra in {file} has to map texts to lists of texts")
    for key in ("as", "as-uid"):
        if not isinstance(user.get(key) or "", str):
            raise ConfigError(f"{key} in {file} has to be text; put it in quotes")
    return Impersonation(
        user.get("as") or "",
        tuple(groups),
        user.get("as-uid") or "",
        tuple((key, tuple(values)) for key, values in extra.items()),
    )


def _texts(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(item, str) for item in found)


def _value(text: str) -> str:
    """HTTP drops white space at the ends, and a server would read another name."""
    if not text or text != text.strip() or not text.isprintable():
        raise ConfigError(f"{shown(text)!r} cannot be acted as: it is empty, or has control characters or spaces at its ends")
    return text


def _key(key: str) -> str:
    """As client-go escapes it: per cent, but for what a header's name may hold. A server reads it in lower case."""
    if not key:
        raise ConfigError("a key of as-user-extra is empty; give it a name")
    return quote(key, safe="!#$&'*+-.^_`|~")
