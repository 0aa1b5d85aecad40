"""Where projects are played: a fresh namespace, a user who may `edit` in it, their kubectl, and one Chromium."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser

from demo import user
from demo.browser import chromium
from demo.user import DemoUser
from devcluster.settings import REPOSITORY, State
from sandbox_client import Client, Sandbox
from sandbox_protocol.refs import Refs
from tests.harness.cluster import Cluster
from tests.harness.killing import signal_agent

_COMMAND_SECONDS = 120.0


class CommandError(Exception):
    """A `kubectl sandbox` that ended with another code than 0; the message is what it printed."""


@dataclass(frozen=True)
class Stage:
    """``copies`` is a folder for the projects, so that edits never touch the corpus; ``results`` keeps what was found out."""

    cluster: Cluster
    user: DemoUser
    client: Client
    browser: Browser
    copies: Path
    results: Path
    template: str = ""

    @property
    def spec(self) -> dict[str, Any]:
        """Empty, but for another template than the cluster's default."""
        return {"templateRef": {"name": self.template}} if self.template else {}

    async def kubectl_sandbox(self, *arguments: str | Path) -> str:
        """What a person types. Returns its standard output. CommandError, TimeoutError."""
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.user.kubeconfig),
            "PATH": f"{REPOSITORY / '.venv' / 'bin'}:{os.environ['PATH']}",
        }
        command = [self.user.kubectl, "sandbox", *arguments]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=pipe, stderr=pipe)
        try:
            async with asyncio.timeout(_COMMAND_SECONDS):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            raise
        if process.returncode:
            raise CommandError(f"kubectl sandbox {arguments[0]}: {(err or out).decode()[-600:].strip()}")
        return out.decode()

    async def kill_agent(self, sandbox: Sandbox) -> bool:
        """False where the node's processes are not on this machine."""
        return await asyncio.to_thread(self._kill_agent, sandbox)

    async def delete_pod(self, sandbox: Sandbox) -> None:
        """As a node that is drained does; returns when it is gone."""
        await asyncio.to_thread(self._delete_pod, sandbox)

    async def described(self, sandbox: Sandbox) -> str:
        """The log's end and the agent's own, for whoever looks at a failure."""
        lines: list[str] = []
        with contextlib.suppress(Exception):  # a report must not hide the failure it is about
            lines += [await self.kubectl_sandbox("status", sandbox.name)]
            lines += [text async for text in sandbox.logs(tail_lines=80)]
        with contextlib.suppress(Exception):
            where = ("--namespace", self._namespace(sandbox), "deployment/runner", "--container=agent", "--tail=40")
            told = await asyncio.to_thread(self.cluster.kubectl, "logs", *where)
            lines += ["", "agent:", *(line for line in told.splitlines() if '"access"' not in line)]
        return "\n".join(lines)

    def _kill_agent(self, sandbox: Sandbox) -> bool:
        pod = self._pod(sandbox)
        return signal_agent(self.cluster, self._namespace(sandbox), pod["metadata"]["uid"], signal.SIGKILL)

    def _delete_pod(self, sandbox: Sandbox) -> None:
        name = self._pod(sandbox)["metadata"]["name"]
        self.cluster.kubectl("delete", "pod", name, "--namespace", self._namespace(sandbox), "--timeout=90s")

    def _pod(self, sandbox: Sandbox) -> dict[str, dict[str, str]]:
        pods = self.cluster.get("pods", "--namespace", self._namespace(sandbox))["items"]
        found: dict[str, dict[str, str]] = next(pod for pod in pods if "deletionTimestamp" not in pod["metadata"])
        return found

    def _namespace(self, sandbox: Sandbox) -> str:
        return Refs(sandbox.resource["metadata"]["uid"]).namespace


@asynccontextmanager
async def open_stage(state: State, template: str = "") -> AsyncIterator[Stage]:
    """Everything on it is gone afterwards, but the results."""
    cluster = Cluster(state)
    namespace = f"apps-{secrets.token_hex(3)}"
    made = await asyncio.to_thread(user.make, state, namespace)
    copies = Path(tempfile.mkdtemp(prefix="apps-"))
    try:
        async with Client.from_kubeconfig(made.kubeconfig) as client, chromium() as browser:
            yield Stage(cluster, made, client, browser, copies, state.root / "apps", template)
    finally:
        made.kubeconfig.unlink(missing_ok=True)
        shutil.rmtree(copies, ignore_errors=True)
        await asyncio.to_thread(cluster.kubectl, "delete", "namespace", namespace, "--wait=false")
