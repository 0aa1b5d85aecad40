"""A local copy of one kind, kept by list and watch, that heals itself.

Everything a watch can get wrong ends in a new list, and a list prunes what vanished: after every error, after 410, and at a fixed
age even when all looks well. A copy can be behind, never wrong for good; nobody writes from it without the API server's own
checks (resourceVersion, uid preconditions, server-side apply).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Iterator

from sandbox_operator.kube import errors
from sandbox_operator.kube.client import WATCH_SECONDS, Kube, Object, ObjectList, Selection

OnChange = Callable[[Object | None, Object | None], None]
"""Called in the event loop with (old, new); None means absent. Must not block or raise."""

# A list costs the API server little for the label- or name-selected kinds we watch; ten minutes bound the harm of a missed event.
MAX_AGE_SECONDS = 600.0
# Back-off after errors, in seconds: quick enough for an API server that restarts, slow enough for one that is overloaded.
_FIRST_DELAY, _LAST_DELAY = 0.2, 15.0
# Deletions remembered so that a list taken before them cannot bring the objects back. A list is seconds old at most.
_BURIED = 4096


class Store:
    """Objects by name and by UID. Old news never overwrites newer: lists, events and answers to writes may come in any order.

    ``slim`` may drop from every object what nobody reads, before it is stored.
    """

    def __init__(self, on_change: OnChange | None = None, slim: Callable[[Object], Object] | None = None) -> None:
        self._on_change = on_change
        self._slim = slim
        self._objects: dict[tuple[str, str], Object] = {}
        self._uids: dict[str, tuple[str, str]] = {}
        self._buried: deque[str] = deque(maxlen=_BURIED)

    def get(self, namespace: str | None, name: str) -> Object | None:
        return self._objects.get((namespace or "", name))

    def by_uid(self, uid: str) -> Object | None:
        key = self._uids.get(uid)
        return None if key is None else self._objects.get(key)

    def items(self) -> Iterator[Object]:
        return iter(list(self._objects.values()))

    def __len__(self) -> int:
        return len(self._objects)

    def put(self, item: Object) -> None:
        key, uid = _key(item), item["metadata"]["uid"]
        old = self._objects.get(key)
        if uid in self._buried or (old is not None and not _newer(item, old)):
            return
        new = self._slim(item) if self._slim is not None else item
        if old is not None:
            self._uids.pop(old["metadata"]["uid"], None)
        self._objects[key] = new
        self._uids[uid] = key
        if self._on_change is not None:
            self._on_change(old, new)

    def drop(self, item: Object) -> None:
        """``item`` is the object as it was last; a later one of the same name stays."""
        key, uid = _key(item), item["metadata"]["uid"]
        self._buried.append(uid)
        old = self._objects.get(key)
        if old is None or old["metadata"]["uid"] != uid:
            return
        del self._objects[key]
        self._uids.pop(uid, None)
        if self._on_change is not None:
            self._on_change(old, None)

    def replace(self, found: ObjectList) -> None:
        """Takes a whole list over: what it lacks is dropped, unless that came after the list was taken."""
        listed = {item["metadata"]["uid"] for item in found.items}
        for old in [old for uid, old in self._by_uid() if uid not in listed]:
            if _version(old["metadata"]["resourceVersion"]) <= _version(found.resource_version):
                self.drop(old)
        for item in found.items:
            self.put(item)

    def _by_uid(self) -> list[tuple[str, Object]]:
        return [(uid, self._objects[key]) for uid, key in self._uids.items()]


class Reflector(Store):
    """A store that keeps itself: run :meth:`run` as a task, read once :attr:`synced` is set."""

    def __init__(
        self,
        kube: Kube,
        selection: Selection,
        *,
        on_change: OnChange | None = None,
        slim: Callable[[Object], Object] | None = None,
        max_age: float = MAX_AGE_SECONDS,
    ) -> None:
        super().__init__(on_change, slim)
        self.selection = selection
        self.synced = asyncio.Event()
        self.failure: Exception | None = None
        """Why the copy is not being kept right now; None while list or watch succeed."""
        self._kube = kube
        self._max_age = max_age
        self._log = logging.getLogger(f"{__name__}.{selection.resource.plural}")

    async def run(self) -> None:
        """List, then watch, for ever. Ends only by cancellation or by an error of our own making."""
        delay = _FIRST_DELAY
        while True:
            try:
                found = await self._kube.list(self.selection)
                self.replace(found)
                self.failure = None
                self.synced.set()
                delay = _FIRST_DELAY
                await self._watch(found.resource_version)
            except errors.Gone:
                pass
            except (errors.ApiError, *errors.TRANSIENT) as error:
                self.failure = error
                self._log.warning("not kept: %s; listing again in %.1f s", error or type(error).__name__, delay)
                await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load, decides nothing
                delay = min(delay * 2, _LAST_DELAY)

    async def _watch(self, position: str) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._max_age * random.uniform(0.8, 1.0)  # noqa: S311 - spreads load, decides nothing
        while (left := end - loop.time()) > 1:
            events = self._kube.watch(self.selection, position, timeout_seconds=min(WATCH_SECONDS, int(left)))
            async for event in events:
                position = event.object["metadata"]["resourceVersion"]
                if event.type == "DELETED":
                    self.drop(event.object)
                elif event.type != "BOOKMARK":
                    self.put(event.object)


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _newer(item: Object, old: Object) -> bool:
    """Another UID under the same name is always news: names are reused, and only after the first holder is gone."""
    if item["metadata"]["uid"] != old["metadata"]["uid"]:
        return True
    return _version(item["metadata"]["resourceVersion"]) > _version(old["metadata"]["resourceVersion"])


def _version(text: str) -> int:
    """Resource versions are ordered numbers (KEP-5504, and in fact since etcd 3); empty is the oldest."""
    return int(text) if text.isdigit() else 0
