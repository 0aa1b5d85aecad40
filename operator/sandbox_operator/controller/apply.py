"""From wanted objects to applied ones: only what changed or drifted is written, wave by wave, and nothing foreign is touched."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from sandbox_operator.controller.children import Children
from sandbox_operator.controller.objects import Object, ObjectKey, digest, is_ours, key_of, summary, waves
from sandbox_operator.errors import Rejected, RetryLater, TemplateInvalid, Unowned
from sandbox_operator.kube import errors, resources
from sandbox_operator.kube.client import DeleteOptions, Kube
from sandbox_operator.kube.discovery import Discovery, UnknownKindError
from sandbox_operator.kube.resources import Resource
from sandbox_protocol import names
from sandbox_protocol.refs import Refs

_LOG = logging.getLogger(__name__)

# A watch shows our own write within milliseconds; after this many seconds an object that it never showed counts as deleted.
_IN_FLIGHT_SECONDS = 2.0
# Quota admission refuses what it counts until the quota is counted for the first time, some tens of milliseconds later.
_QUOTA_ATTEMPTS, _QUOTA_PAUSE = 20, 0.05


@dataclass(slots=True)
class Applied:
    """What we wrote last under a key, and how the API server noted it."""

    digest: str
    uid: str
    fingerprint: str
    at: float
    live: Object
    seen: bool = False


@dataclass(slots=True)
class Ledger:
    """Of one runner; lost on restart, after which everything is applied once, which changes nothing."""

    applied: dict[ObjectKey, Applied] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """``live`` are the objects as last answered, by key; ``repaired`` those that somebody else had changed or deleted."""

    live: dict[ObjectKey, Object]
    repaired: tuple[ObjectKey, ...]


class Applier:
    def __init__(self, kube: Kube, children: Children, discovery: Discovery) -> None:
        self._kube = kube
        self._children = children
        self._discovery = discovery

    async def apply(self, bodies: Sequence[Object], refs: Refs, ledger: Ledger) -> Outcome:
        """Raises Rejected when a person must act, RetryLater when something is in the way that will go; ApiError for the rest.

        All ownership is checked before anything is written, so that a conflict leaves nothing half done.
        """
        placed = {key_of(body): await self._resource(body) for body in bodies}
        existing = {key: await self._existing(resource, key, ledger) for key, resource in placed.items()}
        _refuse_foreign(existing, refs)
        repaired: list[ObjectKey] = []
        for wave in waves(bodies, [key for key, live in existing.items() if live is not None]):
            stale = [body for body in wave if self._is_stale(body, existing[key_of(body)], ledger)]
            repaired += [key_of(body) for body in stale if _drifted(body, ledger)]
            await _together([self._write(body, placed[key_of(body)], existing[key_of(body)], ledger) for body in stale])
        await self._prune(placed, refs, ledger)
        return Outcome({key: entry.live for key, entry in ledger.applied.items()}, tuple(repaired))

    async def _resource(self, body: Object) -> Resource:
        try:
            return await self._discovery.resource(body["apiVersion"], body["kind"])
        except UnknownKindError as error:
            raise TemplateInvalid(f"{error}: install what serves it, or make the resource depend on it by includeWhen") from error

    async def _existing(self, resource: Resource, key: ObjectKey, ledger: Ledger) -> Object | None:
        known = self._children.get(resource, key)
        if known is not None or self._children.watches(resource, key.name):
            return known
        if key in ledger.applied and resource != resources.NAMESPACES:
            return ledger.applied[key].live
        try:
            return summary(await self._kube.get(resource, key.name, key.namespace or None, metadata_only=True))
        except errors.NotFound:
            return None

    def _is_stale(self, body: Object, existing: Object | None, ledger: Ledger) -> bool:
        entry = ledger.applied.get(key_of(body))
        if entry is None or entry.digest != digest(body):
            return True
        if existing is None:
            return entry.seen or asyncio.get_running_loop().time() - entry.at > _IN_FLIGHT_SECONDS
        entry.seen = True
        return bool(existing["metadata"]["uid"] != entry.uid or existing["fingerprint"] != entry.fingerprint)

    async def _write(self, body: Object, resource: Resource, existing: Object | None, ledger: Ledger) -> None:
        key = key_of(body)
        if existing is not None:
            # the very object that was found to be ours, or none
            body_sent = {**body, "metadata": {**body["metadata"], "uid": existing["metadata"]["uid"]}}
        else:
            body_sent = body
        try:
            answer = await self._applied(resource, body_sent, key)
        except errors.Invalid as error:
            raise Rejected(f"{key} is refused: {error.message}", reason="ApplyRefused") from error
        except errors.Conflict as error:
            ledger.applied.pop(key, None)
            raise RetryLater(f"{key} was replaced meanwhile: {error.message}", 0.2) from error
        live = summary(answer)
        ledger.applied[key] = Applied(
            digest(body), live["metadata"]["uid"], live["fingerprint"], asyncio.get_running_loop().time(), live
        )

    async def _applied(self, resource: Resource, body: Object, key: ObjectKey) -> Object:
        namespace = key.namespace or None
        for _ in range(_QUOTA_ATTEMPTS):
            try:
                return await self._kube.apply(resource, body, namespace)
            except errors.Forbidden as error:
                refusal = error
            if resource not in (resources.PVCS, resources.SERVICES):
                break
            await asyncio.sleep(_QUOTA_PAUSE)
        raise Rejected(f"{key} is refused: {refusal.message}", reason="Forbidden") from refusal

    async def _prune(self, placed: dict[ObjectKey, Resource], refs: Refs, ledger: Ledger) -> None:
        """Objects that an earlier template made and this one does not. Never a volume: it may hold the only copy of the work."""
        left = {key: ledger.applied.pop(key).uid for key in [*ledger.applied] if key not in placed}
        for key, uid in {**self._copies(placed, refs), **left}.items():
            if key.kind in {"PersistentVolumeClaim", "Namespace"}:
                continue
            resource = await self._discovery.resource(key.api_version, key.kind)
            _LOG.info("%s: %s is no part of the template any more", refs.namespace, key)
            with contextlib.suppress(errors.NotFound, errors.Conflict):
                await self._kube.delete(resource, key.name, key.namespace or None, DeleteOptions(uid=uid))

    def _copies(self, placed: dict[ObjectKey, Resource], refs: Refs) -> dict[ObjectKey, str]:
        """UIDs of copied Secrets that nothing names any more. A controller that has just started has them in no ledger."""
        keys = [ObjectKey("v1", "Secret", refs.namespace, name) for name in (names.ENV_SECRET, names.PULL_SECRET)]
        lives = {key: self._children.named(resources.SECRETS, key.namespace, key.name) for key in keys if key not in placed}
        return {key: live["metadata"]["uid"] for key, live in lives.items() if live is not None and is_ours(live, refs)}


def _refuse_foreign(existing: dict[ObjectKey, Object | None], refs: Refs) -> None:
    for key, live in existing.items():
        if live is None:
            continue
        if not is_ours(live, refs):
            raise Unowned(
                f"{key} exists and does not belong to this runner, so it is not touched: delete it if nobody needs it",
                reason=f"Conflict{key.kind}",
            )
        if "deletionTimestamp" in live["metadata"]:
            raise RetryLater(f"{key} is being deleted; a new one is made when it is gone", 2.0)


def _drifted(body: Object, ledger: Ledger) -> bool:
    entry = ledger.applied.get(key_of(body))
    return entry is not None and entry.digest == digest(body)


async def _together(writes: Sequence[object]) -> None:
    """All at once; the first refusal is raised after every write has ended, so that none goes on behind our back."""
    results = await asyncio.gather(*writes, return_exceptions=True)  # type: ignore[call-overload]
    failures = [result for result in results if isinstance(result, BaseException)]
    if failures:
        raise min(failures, key=lambda failure: isinstance(failure, RetryLater))
