"""Brings one runner into each state, and asks it everything."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from sandbox_client import Client, NotFound, Sandbox
from sandbox_client.api import Api
from sandbox_client.kubeconfig import Connection
from sandbox_client.waiting import conditions
from sandbox_protocol import names
from sandbox_protocol.refs import Refs
from tests.cluster.behaviour import table
from tests.cluster.behaviour.calls import SECONDS, Target, ask
from tests.cluster.behaviour.table import Answer
from tests.harness.cluster import Cluster
from tests.harness.fixtures import WEB_SERVER
from tests.harness.killing import signal_agent

Answers = dict[tuple[str, str], Answer]
Object = dict[str, Any]

BODY_BYTES = 64 * 1024
# Fewer than a client of the SDK opens connections at once.
_PER_CLIENT = 48
_FINALIZER = "bench.example/stays"
_APISERVER = ("deployment/sandbox-apiserver", f"--namespace={names.SYSTEM_NAMESPACE}")


@dataclass(frozen=True, slots=True)
class Stage:
    """A namespace, a user with `edit` in it, and a template with small limits and no upper bound for a request of CPU."""

    cluster: Cluster
    namespace: str
    template: str
    user: Connection
    client: Client

    async def runner(self, name: str, **spec: Any) -> Sandbox:
        return await self.client.apply_manifest(self.manifest(name, **spec))

    def manifest(self, name: str, *, finalizers: Sequence[str] = (), **spec: Any) -> Object:
        return {
            "apiVersion": f"{names.GROUP}/{names.VERSION}",
            "kind": names.KIND,
            "metadata": {"name": name, "namespace": self.namespace, **({"finalizers": list(finalizers)} if finalizers else {})},
            "spec": {"templateRef": {"name": self.template}, "command": WEB_SERVER, **spec},
        }

    async def target(self, sandbox: Sandbox) -> Target:
        return Target(self.namespace, sandbox.name, await _signed(sandbox))

    async def runtime(self, sandbox: Sandbox) -> str:
        """Its namespace."""
        return Refs((await sandbox.refresh())["metadata"]["uid"]).namespace

    async def pod_uid(self, sandbox: Sandbox) -> str:
        where = f"--namespace={await self.runtime(sandbox)}"
        return await self.kubectl("get", "pods", where, "--output=jsonpath={.items[0].metadata.uid}")

    async def kubectl(self, *arguments: str) -> str:
        return await asyncio.to_thread(self.cluster.kubectl, *arguments)


async def collect(cluster: Cluster, namespace: str) -> tuple[Answers, list[str]]:
    """All answers, by state and verb (of some states none where the node's processes are not on this machine), and why a state
    was not reached."""
    template = await asyncio.to_thread(_template, cluster, f"behaviour-{secrets.token_hex(3)}")
    await asyncio.to_thread(cluster.apply, template)
    user = await asyncio.to_thread(cluster.user, namespace, "behaviour", "edit")
    try:
        async with Client(user) as client:
            stage = Stage(cluster, namespace, template["metadata"]["name"], user, client)
            answers: Answers = {}
            failed: list[str] = []
            found = await asyncio.gather(*(scene(stage) for scene in _SCENES), return_exceptions=True)
            for scene, part in zip(_SCENES, found, strict=True):
                if isinstance(part, BaseException):
                    failed.append(f"{scene.__name__.strip('_')}: {part!r}")
                else:
                    answers |= part
            # last, as it concerns everybody
            running = await stage.target(client.sandbox("running"))
            async with _no_apiserver(stage):
                answers |= await _ask_all(user, table.NO_APISERVER, running)
            return answers, failed
    finally:
        await asyncio.to_thread(cluster.kubectl, "delete", "sandboxtemplate", template["metadata"]["name"], "--wait=false")


async def _running(stage: Stage) -> Answers:
    """The same runner serves where the request makes the difference, or the user."""
    leaver = await asyncio.to_thread(stage.cluster.user, stage.namespace, "leaver", "edit")
    sandbox = await stage.runner("running")
    await sandbox.wait_ready()
    first = await sandbox.sync({"index.html": "an older page"})
    await sandbox.sync({"index.html": "Here it is"})
    await sandbox.wait_app()
    async with Client(leaver) as other:
        lost = await _signed(other.sandbox("running"))
    await stage.kubectl("delete", "rolebinding", "leaver", f"--namespace={stage.namespace}")
    target = await stage.target(sandbox)
    stale = replace(target, headers={"If-Match": f'"{first.revision}"'})
    large = replace(target, pad=2 * BODY_BYTES)
    answers = {
        **await _ask_all(leaver, table.FORBIDDEN, replace(target, url=lost)),
        **await _ask_all(stage.user, table.STALE, stale, table.TABLE[table.STALE]),
        **await _ask_all(stage.user, table.TOO_LARGE, large, table.TABLE[table.TOO_LARGE]),
        **await _ask_all(stage.user, table.RUNNING, target),
    }
    async with _followed(stage.user, target):
        return answers | await _ask_all(stage.user, table.TOO_MANY, target, [table.FOLLOW, table.EXEC])


async def _app_dead(stage: Stage) -> Answers:
    sandbox = await stage.runner("app-dead", command=["sh", "-c", "echo 'no such module: left-pad' >&2; exit 3"])
    await sandbox.wait_ready()
    await sandbox.sync({"index.html": "never served"})
    await _until(lambda: _app_reason(sandbox, "CrashLoop"))
    return await _ask_all(stage.user, table.APP_DEAD, await stage.target(sandbox))


async def _starting(stage: Stage) -> Answers:
    sandbox = await stage.runner("starting", resources={"requests": {"cpu": "900"}, "limits": {"cpu": "900"}})
    await _until(lambda: _condition(sandbox, "AgentReady", "Unschedulable"))
    # one after the other, each waits two seconds to connect: the last ones would come when waiting is said to help no more
    return await _ask_together(stage.user, table.STARTING, await stage.target(sandbox))


async def _suspended(stage: Stage) -> Answers:
    sandbox = await stage.runner("suspended", operatingMode="Suspended")
    await sandbox.wait_ready(condition="Suspended")
    return await _ask_all(stage.user, table.SUSPENDED, await stage.target(sandbox))


async def _agent_dead(stage: Stage) -> Answers:
    """Killed as often as the kubelet starts it, so that it stays dead for as long as we ask."""
    sandbox = await stage.runner("agent-dead")
    await sandbox.wait_ready()
    send = await _to_the_agent(stage, sandbox)
    if not await send(0):
        return {}
    target = await stage.target(sandbox)
    async with _killing(send):
        await _until(lambda: _condition(sandbox, "AgentReady", "CrashLoop"))
        return await _ask_all(stage.user, table.AGENT_DEAD, target)


async def _agent_frozen(stage: Stage) -> Answers:
    """Asked all at once, and never asked before: on an open connection the answer would only be missed later."""
    sandbox = await stage.runner("agent-frozen")
    await sandbox.wait_ready()
    target = await stage.target(sandbox)
    send = await _to_the_agent(stage, sandbox)
    if not await send(signal.SIGSTOP):
        return {}
    return await _ask_together(stage.user, table.AGENT_FROZEN, target)


async def _deleting(stage: Stage) -> Answers:
    """Kept in that state by a finalizer of our own."""
    held = stage.manifest("deleting", finalizers=[_FINALIZER])
    sandbox = await stage.client.apply_manifest(held)
    target = await stage.target(sandbox)
    await sandbox.delete(wait=False)
    try:
        return await _ask_all(stage.user, table.DELETING, target)
    finally:
        await stage.client.apply_manifest(stage.manifest("deleting"))


async def _gone(stage: Stage) -> Answers:
    sandbox = await stage.runner("gone")
    target = await stage.target(sandbox)
    await sandbox.delete()
    return await _ask_all(stage.user, table.GONE, target)


async def _made_anew(stage: Stage) -> Answers:
    sandbox = await stage.runner("made-anew")
    await sandbox.wait_ready()
    await sandbox.sync({"index.html": "of the earlier one"})
    target = await stage.target(sandbox)
    await sandbox.delete()
    sandbox = await stage.runner("made-anew")
    await sandbox.wait_ready()
    await sandbox.sync({"index.html": "of the new one"})
    await sandbox.wait_app()
    return await _ask_all(stage.user, table.MADE_ANEW, target)


_SCENES = (
    _running,
    _app_dead,
    _starting,
    _suspended,
    _agent_dead,
    _agent_frozen,
    _deleting,
    _gone,
    _made_anew,
)


async def _ask_all(user: Connection, state: str, target: Target, verbs: Iterable[str] = table.VERBS) -> Answers:
    """One after the other, in the order of VERBS."""
    answers: Answers = {}
    async with Api(user) as api:
        for verb in verbs:
            try:
                async with asyncio.timeout(SECONDS):
                    answers[state, verb] = await ask(api, target, verb)
            except TimeoutError:
                answers[state, verb] = Answer(0, f"nothing within {SECONDS} s")
    return answers


async def _ask_together(user: Connection, state: str, target: Target) -> Answers:
    """All at once, and last what voids the preview that another one looks at."""
    together = [verb for verb in table.VERBS if verb != table.REVOKE]
    found = await asyncio.gather(*(_ask_all(user, state, target, [verb]) for verb in together))
    last = await _ask_all(user, state, target, [table.REVOKE])
    return {key: answer for part in (*found, last) for key, answer in part.items()}


@asynccontextmanager
async def _followed(user: Connection, target: Target) -> AsyncIterator[None]:
    """As many open answers as are allowed: until whichever replica is asked refuses."""
    async with AsyncExitStack() as stack:
        allowed = True
        while allowed:
            api = await stack.enter_async_context(Api(user))
            wanted = (api.exchange(target.request(table.FOLLOW), stream=True) for _ in range(_PER_CLIENT))
            responses = await asyncio.gather(*wanted)
            for response in responses:
                stack.callback(response.close)
            allowed = any(response.status == 200 for response in responses)
        yield


async def _to_the_agent(stage: Stage, sandbox: Sandbox) -> Callable[[int], Awaitable[bool]]:
    """Sends a signal; False where no process of it can be seen."""
    agent = stage.cluster, await stage.runtime(sandbox), await stage.pod_uid(sandbox)
    return lambda number: asyncio.to_thread(signal_agent, *agent, number)


@asynccontextmanager
async def _killing(send: Callable[[int], Awaitable[bool]]) -> AsyncIterator[None]:
    async def kill() -> None:
        while True:
            await send(signal.SIGKILL)
            await asyncio.sleep(0.1)

    task = asyncio.create_task(kill())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _no_apiserver(stage: Stage) -> AsyncIterator[None]:
    replicas = str(stage.cluster.get(*_APISERVER)["spec"]["replicas"])
    await stage.kubectl("scale", *_APISERVER, "--replicas=0")
    try:
        await stage.kubectl(
            "wait", "pod", "--selector=app.kubernetes.io/name=sandbox-apiserver", "--for=delete", "--timeout=60s", _APISERVER[1]
        )
        yield
    finally:
        await stage.kubectl("scale", *_APISERVER, f"--replicas={replicas}")
        await stage.kubectl("rollout", "status", *_APISERVER, "--timeout=60s")
        service = f"apiservice/{names.VERSION}.{names.SUBRESOURCE_GROUP}"
        await stage.kubectl("wait", "--for=condition=Available", service, "--timeout=60s")


async def _signed(sandbox: Sandbox) -> str:
    """Also of a runner made a moment ago, which the API server of ours may not have heard of yet."""
    while True:
        try:
            return (await sandbox.preview()).url
        except NotFound:
            await asyncio.sleep(0.1)


async def _until(true: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await true():  # noqa: ASYNC110 - what we wait for is in the cluster
            await asyncio.sleep(0.2)


async def _condition(sandbox: Sandbox, kind: str, reason: str) -> bool:
    found = conditions(await sandbox.refresh())
    return any((item.type, item.reason) == (kind, reason) for item in found)


async def _app_reason(sandbox: Sandbox, reason: str) -> bool:
    app = (await sandbox.status()).condition("AppReady")
    return app is not None and app.reason == reason


def _template(cluster: Cluster, name: str) -> Object:
    """The shipped one as deployed here, with limits that a test can exceed, and room for a request that no node can fulfil."""
    spec = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)["spec"]
    spec["limits"]["sync"] = {"bodyBytes": BODY_BYTES, "jsonBodyBytes": BODY_BYTES}
    spec["bounds"]["resources"]["max"]["cpu"] = "1000"
    return {
        "apiVersion": f"{names.GROUP}/{names.VERSION}",
        "kind": names.TEMPLATE_KIND,
        "metadata": {"name": name},
        "spec": spec,
    }
