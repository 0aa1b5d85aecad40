"""How many runners a namespace and a user have, and whether one of them is too many. The youngest are: what runs goes on.

Who made a runner is what the admission policy `sandbox-creators` wrote on it; nobody else can. Where that policy is not
installed nobody is known to have made any, and only namespaces are counted.
"""

from __future__ import annotations

from typing import Any

from sandbox_operator.errors import TooManyRunners
from sandbox_operator.model.template import RunnerBounds
from sandbox_protocol import names

Object = dict[str, Any]


class Census:
    """Kept by :meth:`see`, as the callback of a store of runners. Those that are being deleted count until they are gone."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], dict[str, str]] = {}
        """Of ("namespace" or "user", its name): when each runner was made, by UID."""

    def see(self, old: Object | None, new: Object | None) -> None:
        if old is not None:
            for group in _groups(old):
                members = self._groups.get(group, {})
                members.pop(old["metadata"]["uid"], None)
                if not members:
                    self._groups.pop(group, None)
        if new is not None:
            for group in _groups(new):
                self._groups.setdefault(group, {})[new["metadata"]["uid"]] = _made(new)

    def check(self, runner: Object, bounds: RunnerBounds, template: str) -> None:
        """Raises TooManyRunners with the numbers."""
        most = {"namespace": bounds.per_namespace, "user": bounds.per_user}
        mine = _made(runner), runner["metadata"]["uid"]
        for group in _groups(runner):
            kind, name = group
            limit = most[kind]
            members = self._groups.get(group, {})
            if limit is None or len(members) <= limit:
                continue
            older = sum((created, uid) < mine for uid, created in members.items())
            if older >= limit:
                field = "perNamespace" if kind == "namespace" else "perUser"
                raise TooManyRunners(
                    f"{kind} {name} has {len(members)} runners, of which {older} are older than this one; "
                    f"template {template} allows {limit} (spec.bounds.runners.{field}). Delete one."
                )


def _groups(runner: Object) -> list[tuple[str, str]]:
    metadata = runner["metadata"]
    creator = (metadata.get("annotations") or {}).get(names.ANNOTATION_CREATOR)
    return [("namespace", metadata.get("namespace", "")), *([("user", creator)] if creator else [])]


def _made(runner: Object) -> str:
    """RFC 3339 in UTC, to the second: in the order of time as text."""
    return str(runner["metadata"].get("creationTimestamp", ""))
