"""Waiting, deleting, suspending: by watch, and with the runner's own words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from sandbox_client import Client, Conflict, Forbidden, NeverReady, NotFound, Sandbox, WaitTimeout
from sandbox_protocol.errors import StatusError
from sandbox_protocol.reasons import HOPELESS_APP
from tests.unit.sandbox_client.fake_api import FakeApi


def condition(kind: str, status: str, reason: str = "", message: str = "", generation: int = 1) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": generation}


READY = condition("Ready", "True", "Ready")
TooLong = Callable[[Awaitable[None]], Awaitable[str]]


@pytest.fixture
async def too_long(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> TooLong:
    """Waits until a call has nothing left to read, lets its time run out, and returns what it complained about."""
    limits: list[asyncio.Timeout] = []

    def timeout(_: float) -> asyncio.Timeout:
        limits.append(asyncio.timeout(None))
        return limits[-1]

    async def run(call: Awaitable[None]) -> str:
        waiting = asyncio.ensure_future(call)
        await api.until(api.watched)
        limits[-1].reschedule(0)
        with pytest.raises(WaitTimeout) as caught:
            await waiting
        return str(caught.value)

    monkeypatch.setattr("sandbox_client.sandbox.asyncio", SimpleNamespace(timeout=timeout, sleep=asyncio.sleep))
    return run


async def test_a_runner_is_created_applied_listed_and_found(api: FakeApi, client: Client) -> None:
    await client.create("a", {"port": 1})
    with pytest.raises(Conflict):
        await client.create("a")
    applied = await client.apply("a", {"port": 2})
    assert applied.resource["spec"] == {"port": 2}
    await client.apply("b", namespace="other")
    assert [sandbox.name for sandbox in await client.list()] == ["a"]
    assert [sandbox.namespace for sandbox in await client.list(all_namespaces=True)] == ["demo", "other"]
    assert (await client.get("a")).resource["metadata"]["uid"] == applied.resource["metadata"]["uid"]
    with pytest.raises(NotFound, match="not found"):
        await client.get("c")


async def test_only_a_sandbox_runner_can_be_applied(client: Client) -> None:
    with pytest.raises(ValueError, match="v1 Pod"):
        await client.apply_manifest({"apiVersion": "v1", "kind": "Pod"})


async def test_a_name_never_becomes_another_path(api: FakeApi, client: Client) -> None:
    for name in ("a/../../../../namespaces/kube-system/secrets/x", "shop/proxy", ".."):
        with pytest.raises(ValueError, match="not a name"):
            await client.get(name)
    assert api.requests == []


async def test_waiting_ends_with_the_change_that_makes_it_ready(api: FakeApi, shop: Sandbox) -> None:
    waiting = asyncio.create_task(shop.wait_ready(timeout=5))
    await asyncio.sleep(0)
    api.report("shop", condition("Ready", "False", "Provisioning", "the pod is starting"))
    api.report("shop", READY)
    await waiting
    assert shop.resource["status"]["conditions"][0]["status"] == "True"


async def test_an_old_condition_says_nothing_about_a_new_spec(api: FakeApi, shop: Sandbox, too_long: TooLong) -> None:
    api.report("shop", READY)
    await shop.resume()  # generation 2
    assert "nothing has reported on it yet" in await too_long(shop.wait_ready(timeout=7))


async def test_a_watch_that_ends_or_expires_begins_anew(api: FakeApi, shop: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox_client.sandbox._RELIST_SECONDS", 0)
    gone = [web.json_response(StatusError(410, "too old", reason="Expired").body(), status=410)]

    def fail(request: web.Request) -> web.StreamResponse | None:
        if "watch" in request.query:
            if gone:
                return gone.pop()
            api.report("shop", READY)
        return None

    api.fail = fail
    await shop.wait_ready(timeout=5)
    assert len([request for request in api.requests if "watch" in request.query]) == 2


async def test_waiting_stops_at_a_reason_that_only_a_person_can_mend(api: FakeApi, shop: Sandbox) -> None:
    api.report(
        "shop", condition("Provisioned", "False", "ImagePullBackOff", "cannot pull nginx:nope"), condition("Ready", "False")
    )
    with pytest.raises(NeverReady, match="demo/shop will not become ready: Provisioned ImagePullBackOff: cannot pull nginx:nope"):
        await shop.wait_ready(timeout=5)


async def test_waiting_too_long_says_what_for(api: FakeApi, shop: Sandbox, too_long: TooLong) -> None:
    api.report("shop", condition("NetworkReady", "False", "GateRunning", "the gate has not passed"))
    complaint = await too_long(shop.wait_ready(timeout=7))
    assert complaint == "demo/shop is not Ready after 7 s. NetworkReady: the gate has not passed"


async def test_what_conditions_mirror_is_told_once(api: FakeApi, shop: Sandbox, too_long: TooLong) -> None:
    kinds = ("Ready", "NetworkReady", "AgentReady", "AppReady")
    api.report("shop", *(condition(kind, "False", "Starting", "the pod is starting") for kind in kinds))
    assert (await too_long(shop.wait_ready(timeout=7))).endswith("after 7 s. NetworkReady: the pod is starting")


async def test_nobody_reporting_is_said_too(shop: Sandbox, too_long: TooLong) -> None:
    assert "is the controller running" in await too_long(shop.wait_ready(timeout=7))


async def test_a_suspended_runner_is_not_waited_for(shop: Sandbox) -> None:
    await shop.suspend()
    with pytest.raises(NeverReady, match="resume it first"):
        await shop.wait_ready(timeout=5)


async def test_waiting_for_what_does_not_exist_ends_at_once(client: Client) -> None:
    with pytest.raises(NotFound, match="demo/nobody does not exist"):
        await client.sandbox("nobody").wait_ready(timeout=5)


async def test_a_missing_right_is_not_waited_for(api: FakeApi, shop: Sandbox) -> None:
    api.fail = lambda _: web.json_response(StatusError(403, "no right to get sandboxrunners").body(), status=403)
    with pytest.raises(Forbidden, match="no right to get"):
        await shop.wait_ready(timeout=5)


async def test_deleting_waits_until_it_is_gone(api: FakeApi, shop: Sandbox) -> None:
    deleting = asyncio.create_task(shop.delete(timeout=5))
    await api.until(lambda: "deletionTimestamp" in api.runners["demo", "shop"]["metadata"])
    assert not deleting.done()
    api.remove("shop")
    await deleting
    await shop.delete()  # again: nothing to do


async def test_a_namesake_made_meanwhile_does_not_keep_the_deletion_waiting(
    api: FakeApi, shop: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox_client.sandbox._RELIST_SECONDS", 0)
    deleting = asyncio.create_task(shop.delete(timeout=5))
    await api.until(lambda: any("watch" in request.query for request in api.requests))
    api.runners.pop(("demo", "shop"))
    api.add("shop")
    await deleting


async def test_a_stuck_deletion_says_why(api: FakeApi, shop: Sandbox, too_long: TooLong) -> None:
    api.report("shop", condition("Ready", "False", "Deleting", "a finalizer of volume x is left"))
    complaint = await too_long(shop.delete(timeout=7))
    assert complaint == "demo/shop is still being deleted after 7 s: a finalizer of volume x is left"


def app(reason: str, status: str = "False", message: str = "") -> dict[str, Any]:
    return {
        "process": {"state": reason},
        "conditions": [{"type": "AppReady", "status": status, "reason": reason, "message": message}],
    }


async def test_waiting_for_the_app_goes_on_through_install_and_start(
    api: FakeApi, shop: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox_client.sandbox._APP_POLL_SECONDS", (0.0,))
    api.app_status = [app("Installing"), app("Starting"), app("Ready", "True")]
    assert (await shop.wait_app(timeout=5)).process.state == "Ready"


async def test_an_app_that_crashes_is_not_waited_for(api: FakeApi, shop: Sandbox) -> None:
    api.app_status = [app("CrashLoop", message="exit code 1, 5 times")]
    with pytest.raises(NeverReady, match="CrashLoop: exit code 1, 5 times"):
        await shop.wait_app(timeout=5)


@pytest.mark.parametrize("reason", sorted(HOPELESS_APP))
async def test_each_way_in_which_an_app_fails_ends_the_waiting(api: FakeApi, shop: Sandbox, reason: str) -> None:
    api.app_status = [app(reason, message="what to do")]
    with pytest.raises(NeverReady, match=f"{reason}: what to do"):
        await shop.wait_app(timeout=5)


@pytest.mark.parametrize("reason", ["AwaitingFirstSync", "Installing", "Starting", "Restarting"])
async def test_what_mends_itself_or_waits_for_a_sync_is_waited_for(
    api: FakeApi, shop: Sandbox, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setattr("sandbox_client.sandbox._APP_POLL_SECONDS", (0.0,))
    api.app_status = [app(reason)] * 3 + [app("Ready", "True")]
    await shop.wait_app(timeout=5)


async def test_a_crash_that_is_over_when_it_is_looked_at_again_does_not_end_the_waiting(
    api: FakeApi, shop: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox_client.sandbox._APP_POLL_SECONDS", (0.0,))
    api.app_status = [app("CrashLoop"), app("Starting"), app("CrashLoop"), app("Ready", "True")]
    await shop.wait_app(timeout=5)


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "Rejected", "TemplateNotFound"])
async def test_a_runner_whose_agent_cannot_be_asked_and_never_will_is_not_waited_for(
    api: FakeApi, shop: Sandbox, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setattr("sandbox_client.sandbox._APP_POLL_SECONDS", (0.0,))
    answer = StatusError(503, "the agent cannot be reached").body()
    api.fail = lambda request: web.json_response(answer, status=503) if request.path.endswith("/status") else None
    api.report("shop", condition("Ready", "False", reason, "somebody must act"))
    with pytest.raises(NeverReady, match=f"{reason}: somebody must act"):
        await shop.wait_app(timeout=5)


async def test_a_container_that_cannot_start_is_not_waited_for(api: FakeApi, shop: Sandbox) -> None:
    """The agent beside it only knows that nobody connected; the kubelet's reason stands in the runner's own condition."""
    api.app_status = [app("Starting") | {"process": {"state": "AwaitingLauncher"}}]
    api.report("shop", READY, condition("AppReady", "False", "LauncherNotStarted", "the launcher cannot start"))
    with pytest.raises(NeverReady, match="LauncherNotStarted: the launcher cannot start"):
        await shop.wait_app(timeout=5)


async def test_a_rollout_of_the_api_does_not_end_the_waiting(
    api: FakeApi, shop: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox_client.sandbox._APP_POLL_SECONDS", (0.0,))
    down = [web.json_response(StatusError(503, "no endpoints").body(), status=503)]
    api.fail = lambda _: down.pop() if down else None
    api.app_status = [app("Ready", "True")]
    await shop.wait_app(timeout=5)
