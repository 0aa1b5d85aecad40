"""Events of a SandboxRunner: what ``kubectl describe`` shows below the conditions. Written on changes only, not on a schedule."""

from __future__ import annotations

import logging
import secrets
from datetime import UTC, datetime
from typing import Any, Literal

from sandbox_operator.kube import errors
from sandbox_operator.kube.client import Kube
from sandbox_operator.kube.resources import EVENTS

Object = dict[str, Any]

_LOG = logging.getLogger(__name__)
# events.k8s.io/v1: a note is at most 1 KiB
_NOTE_CHARACTERS = 1000


class Recorder:
    def __init__(self, kube: Kube, instance: str) -> None:
        self._kube = kube
        self._instance = instance

    async def emit(
        self, about: Object, kind: Literal["Normal", "Warning"], reason: str, note: str, action: str = "Reconcile"
    ) -> None:
        """Best effort: an event that cannot be written changes nothing."""
        metadata = about["metadata"]
        body = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": f"{metadata['name'][:200]}.{secrets.token_hex(8)}", "namespace": metadata["namespace"]},
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": "infrastructure.appstudio.dev/sandbox-controller",
            "reportingInstance": self._instance[:128],
            "action": action,
            "reason": reason[:128],
            "type": kind,
            "note": note[:_NOTE_CHARACTERS],
            "regarding": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
        }
        try:
            await self._kube.create(EVENTS, body, metadata["namespace"])
        except (errors.ApiError, *errors.TRANSIENT) as error:
            _LOG.info("event %s of %s/%s not written: %s", reason, metadata["namespace"], metadata["name"], error)
