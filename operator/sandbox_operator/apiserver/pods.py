"""The pod of a runner, found by what only the cluster's own controllers write, and the road to its ``exec``.

Its namespace comes from the runner's UID, never from status; in there a pod counts when it carries the runner's label and belongs
to a ReplicaSet of the Deployment ``runner``. Names that end in a path are checked and escaped by :mod:`kube.resources`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp

from sandbox_operator.apiserver import dial
from sandbox_operator.apiserver.runners import Runner
from sandbox_operator.kube import errors as kube_errors
from sandbox_operator.kube import resources
from sandbox_operator.kube.client import Kube, Selection
from sandbox_protocol import names
from sandbox_protocol.errors import StatusError

APP_CONTAINER = "app"
_WORDS = 300


class RunnerPods:
    """Asks the API server that holds the runtimes, as the account of this server."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def running(self, runner: Runner) -> str:
        """Name of the pod whose app container runs. StatusError 503 says what it waits for."""
        wanted = Selection(resources.PODS, runner.refs.namespace, label_selector=f"{names.LABEL_RUNNER_UID}={runner.refs.uid}")
        try:
            found = await self._kube.list(wanted)
        except (kube_errors.NotFound, kube_errors.Forbidden) as error:
            # no namespace, or no RoleBinding yet: the controller has still to make them
            raise runner.unavailable("the runner's runtime is not provisioned yet") from error
        except (kube_errors.ApiError, aiohttp.ClientError, TimeoutError) as error:
            raise runner.unavailable("the runner's pod cannot be looked up") from error
        return choose(runner, found.items)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection for one request that is written by hand."""
        try:
            async with asyncio.timeout(dial.CONNECT_SECONDS):
                reader, writer = await self._kube.open_connection()
        except (OSError, TimeoutError) as error:
            raise StatusError(503, "the Kubernetes API cannot be reached; try again", retry_after=1) from error
        dial.keep_alive(writer.get_extra_info("socket"))
        return reader, writer

    def exec_request(self, runner: Runner, pod: str, query: Iterable[tuple[str, str]]) -> tuple[str, Mapping[str, str]]:
        """Path with query, and the headers that make the request ours. Bytes that are no UTF-8 come as surrogates."""
        path = resources.PODS.path(runner.refs.namespace, pod, "exec")
        return self._kube.address(f"{path}?{urlencode(list(query), errors='surrogateescape')}")


def choose(runner: Runner, pods: Iterable[Mapping[str, Any]]) -> str:
    """Pure. The youngest pod that is the runner's own and not ending; StatusError 503 when its app container does not run."""
    own = [pod for pod in pods if _owned(runner, pod) and "deletionTimestamp" not in pod["metadata"]]
    if not own:
        raise runner.unavailable("the runner has no pod")
    pod = max(own, key=lambda each: str(each["metadata"]["creationTimestamp"]))
    state = _app_state(pod)
    if "running" not in state:
        kind = next(iter(state), "waiting")
        details: Mapping[str, Any] = state.get(kind) or {}
        told = ": ".join(str(details[key]) for key in ("reason", "message") if details.get(key))
        raise runner.unavailable(f"the app's container is not running ({kind}{f', {told}' if told else ''})"[:_WORDS])
    return str(pod["metadata"]["name"])


def _owned(runner: Runner, pod: Mapping[str, Any]) -> bool:
    metadata = pod["metadata"]
    owner: Mapping[str, Any] = next((each for each in metadata.get("ownerReferences") or () if each.get("controller")), {})
    return (
        (metadata.get("labels") or {}).get(names.LABEL_RUNNER_UID) == runner.refs.uid
        and metadata.get("namespace") == runner.refs.namespace
        and (owner.get("apiVersion"), owner.get("kind")) == ("apps/v1", "ReplicaSet")
        and str(owner.get("name", "")).rpartition("-")[0] == names.DEPLOYMENT
    )


def _app_state(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return next((each.get("state") or {} for each in statuses if each.get("name") == APP_CONTAINER), {})
