from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sandbox_operator.controller.deletion import STUCK_SECONDS, Deleter, Ending
from sandbox_operator.kube import resources
from sandbox_protocol import names
from sandbox_protocol.refs import Refs

REFS = Refs("0f0e0d0c-0b0a-4908-8706-050403020100")


@pytest.fixture
def deleter(cluster: Any, children: Any) -> Deleter:
    return Deleter(cluster, children)


def ending(ago: float = 0.0) -> Ending:
    return Ending(asyncio.get_running_loop().time() - ago)


async def runtime(cluster: Any, *, ours: bool = True) -> None:
    labels = {names.LABEL_RUNNER_UID: REFS.uid if ours else "other"}
    await cluster.apply(resources.NAMESPACES, {"metadata": {"name": REFS.namespace, "labels": labels}})
    for resource, name in ((resources.DEPLOYMENTS, "runner"), (resources.PVCS, "workspace")):
        await cluster.apply(resource, {"metadata": {"name": name, "namespace": REFS.namespace}, "spec": {}}, REFS.namespace)
    cluster.log.clear()


async def test_nothing_there_is_gone(deleter: Deleter) -> None:
    assert (await deleter.step(REFS, ending())).gone


async def test_pod_and_volume_go_before_the_namespace(cluster: Any, deleter: Deleter) -> None:
    await runtime(cluster)
    step = await deleter.step(REFS, ending())
    assert cluster.log == [
        "patch Deployment runner",
        "delete PersistentVolumeClaim workspace",
        f"delete Namespace {REFS.namespace}",
    ]
    assert cluster.objects["deployments", REFS.namespace, "runner"]["spec"] == {"replicas": 0}
    assert (step.gone, step.why.reason) == (False, "Deleting")


async def test_a_namespace_that_is_going_is_only_waited_for(cluster: Any, deleter: Deleter) -> None:
    await runtime(cluster)
    await deleter.step(REFS, ending())
    cluster.log.clear()
    assert not (await deleter.step(REFS, ending())).gone
    assert cluster.log == []


async def test_a_runtime_that_was_never_complete_goes_too(cluster: Any, deleter: Deleter) -> None:
    await runtime(cluster)
    del cluster.objects["deployments", REFS.namespace, "runner"]
    del cluster.objects["persistentvolumeclaims", REFS.namespace, "workspace"]
    await deleter.step(REFS, ending())
    assert cluster.log[-1] == f"delete Namespace {REFS.namespace}"


async def test_a_namespace_that_is_not_ours_is_not_touched(cluster: Any, deleter: Deleter) -> None:
    await runtime(cluster, ours=False)
    assert (await deleter.step(REFS, ending())).gone
    assert cluster.log == []


async def test_a_stuck_namespace_says_what_blocks_it(cluster: Any, deleter: Deleter) -> None:
    await runtime(cluster)
    await deleter.step(REFS, ending())
    cluster.objects["namespaces", "", REFS.namespace]["status"] = {
        "conditions": [
            {
                "type": "NamespaceDeletionDiscoveryFailure",
                "status": "True",
                "message": "unable to retrieve the server APIs: metrics",
            },
            {"type": "NamespaceContentRemaining", "status": "False", "message": "All content removed"},
        ]
    }
    step = await deleter.step(REFS, ending(ago=STUCK_SECONDS + 1))
    assert step.why.reason == "DeletionBlocked"
    assert "unable to retrieve the server APIs: metrics" in step.why.message
    assert "All content removed" not in step.why.message
