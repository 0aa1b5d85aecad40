from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sandbox_operator.kube import lease as lease_module
from sandbox_operator.kube.client import Kube
from sandbox_operator.kube.lease import Lease, LostError

MISSING = (404, {"kind": "Status", "reason": "NotFound"})
CONFLICT = (409, {"kind": "Status", "reason": "Conflict"})


def held(by: str, version: int = 1) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version)}, "spec": {"holderIdentity": by, "leaseTransitions": 2}}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(lease_module, "LEASE_SECONDS", 0.05)
    monkeypatch.setattr(lease_module, "RENEW_SECONDS", 5.0)


async def acquire(kube: Kube) -> Lease:
    made = Lease(kube, "system", "controller", "me")
    async with asyncio.timeout(1):
        await made.acquire()
    return made


async def test_a_missing_lease_is_made(kube: Kube, script: Any) -> None:
    script.answers = [MISSING, held("me")]
    await acquire(kube)
    assert script.asked[1][0] == "POST"
    assert script.asked[1][3]["spec"]["holderIdentity"] == "me"


async def test_a_released_lease_is_taken_at_once(kube: Kube, script: Any) -> None:
    script.answers = [held(""), held("me", 2)]
    await acquire(kube)
    assert script.asked[1][3]["metadata"]["resourceVersion"] == "1"
    assert script.asked[1][3]["spec"]["leaseTransitions"] == 3


async def test_a_lease_that_is_renewed_is_waited_for(kube: Kube, script: Any) -> None:
    script.answers = [held("other", 1), held("other", 2), held("other", 3), held("", 4), held("me", 5)]
    await acquire(kube)
    assert [method for method, *_ in script.asked] == ["GET"] * 4 + ["PATCH"]


async def test_a_lease_that_nobody_renews_is_taken_over(kube: Kube, script: Any) -> None:
    script.answers = [held("dead", 1)] * 500
    await acquire(kube)
    assert [method for method, *_ in script.asked].count("PATCH") == 1
    # never before the whole time of a lease has passed without a change
    assert len(script.asked) > 5


async def test_losing_the_race_for_a_lease_is_not_leading(kube: Kube, script: Any) -> None:
    script.answers = [held(""), CONFLICT, held("other", 3), held("", 4), held("me", 5)]
    await acquire(kube)
    assert len(script.asked) == 5


async def test_a_leader_that_is_overtaken_ends(kube: Kube, script: Any) -> None:
    script.answers = [held(""), held("me", 2), held("other", 9)]
    lease = await acquire(kube)
    with pytest.raises(LostError, match="another replica"):
        await lease.hold()


async def test_a_leader_that_cannot_renew_ends_before_others_may_start(
    kube: Kube, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "RENEW_SECONDS", 0.03)
    script.answers = [held(""), held("me", 2)] + [(500, {})] * 500
    lease = await acquire(kube)
    async with asyncio.timeout(1):
        with pytest.raises(LostError, match="could not be renewed"):
            await lease.hold()


async def test_release_gives_up_only_what_is_ours(kube: Kube, script: Any) -> None:
    script.answers = [held(""), held("me", 2), held("me", 2), held("", 3), held("other", 4)]
    lease = await acquire(kube)
    await lease.release()
    assert script.asked[3][3]["spec"] == {"holderIdentity": ""}
    await lease.release()
    assert script.asked[-1][0] == "GET"
