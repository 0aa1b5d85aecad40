"""A local copy of one kind, kept by list and watch, that heals itself.

Everything a watch can get wrong ends in a new list, and a list prunes what vanished: after every error, after 410, and at a fixed
age even when all looks well. A copy can be behind, never wrong for good; nobody writes from it without the API server's own
checks (resourceVersion, uid preconditions, server-side apply).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator

from sandbox_operator.kube import errors
from sandbox_operator.kube.client import WATCH_SECONDS, Kube, Object, Selection

OnChange = Callable[[Object | None, Object | None], None]
"""Called in the event loop with (old, new); None means absent. Must not block or raise."""

# A list costs the API server little for the label- or name-selected kinds we watch; ten minutes bound the harm of a missed event.
MAX_AGE_SECONDS = 600.0
# Back-off after errors, in seconds: quick enough for an API server that restarts, slow enough for one that is overloaded.
_FIRST_DELAY, _LAST_DELAY = 0.2, 15.0


class Reflector:
    """Run :meth:`run` as a task; read with :meth:`get`, :meth:`by_uid`, :meth:`items` once :attr:`synced` is set.

    ``slim`` may drop from every object what nobody reads, before it is stored.
    """

    def __init__(
        self,
        kube: Kube,
        selection: Selection,
        *,
        on_change: OnChange | None = None,
        slim: Callable[[Object], Object] | None = None,
        max_age: float = MAX_AGE_SECONDS,
    ) -> None:
        self.selection = selection
        self.synced = asyncio.Event()
        self.failure: Exception | None = None
        """Why the copy is not being kept right now; None while list or watch succeed."""
        self._kube = kube
        self._on_change = on_change
        self._slim = slim
        self._max_age = max_age
        self._log = logging.getLogger(f"{__name__}.{selection.resource.plural}")
        self._objects: dict[tuple[str, str], Object] = {}
        self._uids: dict[str, tuple[str, str]] = {}

    def get(self, namespace: str | None, name: str) -> Object | None:
        return self._objects.get((namespace or "", name))

    def by_uid(self, uid: str) -> Object | None:
        key = self._uids.get(uid)
        return None if key is None else self._objects.get(key)

    def items(self) -> Iterator[Object]:
        return iter(list(self._objects.values()))

    def __len__(self) -> int:
        return len(self._objects)

    async def run(self) -> None:
        """List, then watch, for ever. Ends only by cancellation or by an error of our own making."""
        delay = _FIRST_DELAY
        while True:
            try:
                position = await self._list()
                delay = _FIRST_DELAY
                await self._watch(position)
            except errors.Gone:
                pass
            except (errors.ApiError, *errors.TRANSIENT) as error:
                self.failure = error
                self._log.warning("not kept: %s; listing again in %.1f s", error or type(error).__name__, delay)
                await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load, decides nothing
                delay = min(delay * 2, _LAST_DELAY)

    async def _list(self) -> str:
        found = await self._kube.list(self.selection)
        fresh = {_key(item) for item in found.items}
        for item in found.items:
            self._put(item)
        for key in [key for key in self._objects if key not in fresh]:
            self._drop(key)
        self.failure = None
        self.synced.set()
        return found.resource_version

    async def _watch(self, position: str) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._max_age * random.uniform(0.8, 1.0)  # noqa: S311 - spreads load, decides nothing
        while (left := end - loop.time()) > 1:
            events = self._kube.watch(self.selection, position, timeout_seconds=min(WATCH_SECONDS, int(left)))
            async for event in events:
                position = event.object["metadata"]["resourceVersion"]
                if event.type == "DELETED":
                    self._drop(_key(event.object))
                elif event.type != "BOOKMARK":
                    self._put(event.object)

    def _put(self, item: Object) -> None:
        key = _key(item)
        old = self._objects.get(key)
        if old is not None and old["metadata"]["resourceVersion"] == item["metadata"]["resourceVersion"]:
            return
        new = self._slim(item) if self._slim is not None else item
        if old is not None and old["metadata"]["uid"] != new["metadata"]["uid"]:
            self._uids.pop(old["metadata"]["uid"], None)
        self._objects[key] = new
        self._uids[new["metadata"]["uid"]] = key
        if self._on_change is not None:
            self._on_change(old, new)

    def _drop(self, key: tuple[str, str]) -> None:
        old = self._objects.pop(key, None)
        if old is None:
            return
        self._uids.pop(old["metadata"]["uid"], None)
        if self._on_change is not None:
            self._on_change(old, None)


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]
