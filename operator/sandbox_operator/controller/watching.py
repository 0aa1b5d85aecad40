"""SandboxRunners and SandboxTemplates, watched by kopf; what it sees only fills two stores.

kopf is used for what it is best at. No handler of ours takes a diff or a patch, because those make kopf PATCH every object on
every change; and since after an expired watch it never tells what vanished meanwhile, a periodic list prunes both stores.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import kopf

from sandbox_operator.kube import errors
from sandbox_operator.kube.client import Kube, Selection
from sandbox_operator.kube.resources import RUNNERS, TEMPLATES, Resource
from sandbox_operator.kube.store import Store

_LOG = logging.getLogger(__name__)

# Seconds between two lists. Bounds how long a deletion that the watch missed goes unnoticed.
LIST_SECONDS = 120.0


def registry(runners: Store, templates: Store) -> kopf.OperatorRegistry:
    made = kopf.OperatorRegistry()
    for resource, store in ((RUNNERS, runners), (TEMPLATES, templates)):
        _feed(made, resource, store)
    kopf.on.login(registry=made, id="login")(_login)
    return made


def settings() -> kopf.OperatorSettings:
    made = kopf.OperatorSettings()
    # events are ours to write, in events.py
    made.posting.enabled = False
    # our CRDs are installed before us; without this kopf watches all CRDs and namespaces, which needs rights we do not want
    made.scanning.disabled = True
    made.watching.server_timeout = 300
    return made


def _feed(made: kopf.OperatorRegistry, resource: Resource, store: Store) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, registry=made, id=f"see-{resource.plural}")
    async def see(event: Any, **_: Any) -> None:
        if event["type"] == "DELETED":
            store.drop(dict(event["object"]))
        else:
            store.put(dict(event["object"]))


async def _login(**arguments: Any) -> Any:
    return kopf.login_with_kubeconfig(**arguments) or kopf.login_with_service_account(**arguments)


async def relist(kube: Kube, resource: Resource, store: Store, synced: asyncio.Event) -> None:
    """Lists now and every LIST_SECONDS, for ever; ``synced`` is set after the first."""
    while True:
        try:
            store.replace(await kube.list(Selection(resource)))
            synced.set()
            await asyncio.sleep(LIST_SECONDS)
        except (errors.ApiError, *errors.TRANSIENT) as error:
            _LOG.warning("%s cannot be listed: %s", resource.plural, error or type(error).__name__)
            await asyncio.sleep(2)
