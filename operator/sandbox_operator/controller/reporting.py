"""Writing down what came out: the status, only where it differs, and an event when Ready changes its mind or the app fails."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterable
from datetime import UTC, datetime

from sandbox_operator.controller.conditions import Condition, merged
from sandbox_operator.controller.events import Recorder
from sandbox_operator.controller.objects import Object, ObjectKey
from sandbox_operator.controller.status import Report, merge_patch, status
from sandbox_operator.kube import errors
from sandbox_operator.kube.client import Kube
from sandbox_operator.kube.resources import RUNNERS, TEMPLATES
from sandbox_operator.kube.store import Store
from sandbox_protocol.reasons import HOPELESS_APP

_LOG = logging.getLogger(__name__)

# What happens on the way to Ready, or by wish; everything else deserves a warning.
_EXPECTED = frozenset(
    {"Starting", "NotReady", "Suspended", "Suspending", "ShutdownTime", "Waiting", "Deleting", "ContainersNotReady"}
)

# Between two events about the same failure of the same app: it may fail and recover as often as its code likes.
APP_EVENT_SECONDS = 600.0
# Failures remembered for that, of all runners.
_TOLD = 4096


class Reporter:
    def __init__(self, kube: Kube, runners: Store, templates: Store, recorder: Recorder) -> None:
        self._kube = kube
        self._runners = runners
        self._templates = templates
        self.recorder = recorder
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def runner(self, runner: Object, report: Report) -> None:
        """Patches the status subresource; a runner that vanished meanwhile is fine."""
        present = runner.get("status") or {}
        patch = merge_patch(present, status(runner, report, _now()))
        if not patch:
            return
        metadata = runner["metadata"]
        try:
            written = await self._kube.merge_patch(
                RUNNERS,
                metadata["name"],
                {"metadata": {"uid": metadata["uid"]}, "status": patch},
                metadata["namespace"],
                subresource="status",
            )
        except (errors.NotFound, errors.Conflict):
            return
        self._runners.put(written)
        await self._tell(runner, report.conditions, present.get("conditions") or ())

    async def _tell(self, runner: Object, conditions: Iterable[Condition], before: Iterable[Object]) -> None:
        told = {condition.type: condition for condition in conditions}
        was = {entry["type"]: entry for entry in before}
        await self._tell_of_app(runner, told["AppReady"], was.get("AppReady"))
        ready, old = told["Ready"], was.get("Ready")
        if old is not None and (old["status"], old["reason"]) == (ready.status, ready.reason):
            return
        if ready.reason in {"Starting", "NotReady"} and old is None:
            return
        expected = ready.status == "True" or ready.reason in _EXPECTED
        await self.recorder.emit(runner, "Normal" if expected else "Warning", ready.reason, ready.message)

    async def _tell_of_app(self, runner: Object, app: Condition, old: Object | None) -> None:
        """Of known reasons only: the words come from the pod."""
        if app.status == "True" or app.reason not in HOPELESS_APP or (old is not None and old["reason"] == app.reason):
            return
        key, now = (runner["metadata"]["uid"], app.reason), time.monotonic()
        if now - self._told.get(key, float("-inf")) < APP_EVENT_SECONDS:
            return
        self._told[key] = now
        self._told.move_to_end(key)
        while len(self._told) > _TOLD:
            self._told.popitem(last=False)
        await self.recorder.emit(runner, "Warning", app.reason, app.message, action="RunApp")

    async def repaired(self, runner: Object, keys: Iterable[ObjectKey]) -> None:
        for key in keys:
            _LOG.warning("%s/%s: repaired %s", runner["metadata"]["namespace"], runner["metadata"]["name"], key)
            await self.recorder.emit(
                runner, "Warning", "Repaired", f"{key} was changed or deleted by somebody else and is as it should be again."
            )

    async def template(self, live: Object, condition: Condition) -> None:
        present = live.get("status") or {}
        generation = live["metadata"]["generation"]
        wanted = {
            "observedGeneration": generation,
            "conditions": merged([condition], generation, present.get("conditions") or (), _now()),
        }
        if patch := merge_patch(present, wanted):
            try:
                written = await self._kube.merge_patch(
                    TEMPLATES, live["metadata"]["name"], {"status": patch}, subresource="status"
                )
            except errors.NotFound:
                return
            self._templates.put(written)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
