"""The agent dies in the middle of something: by a signal from the node, or from inside its own container under gVisor.

Linux keeps signals from inside a container from its process 1. gVisor does not, and its processes are not on the node."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable

import pytest

from devcluster.kubectl import KubectlError, kubectl_argv
from sandbox_client import blocking
from tests.harness.cluster import Cluster
from tests.harness.fixtures import GVISOR
from tests.harness.processes import AGENT, agent_pid, pids

_SIGNAL_WHEN_TOLD = "import os, sys; print(flush=True); sys.stdin.readline(); os.kill(1, int(sys.argv[1]))"


def agent_killer(cluster: Cluster, sandbox: blocking.Sandbox, number: int = signal.SIGKILL) -> Callable[[], None]:
    """Call what it returns to send the signal to the agent that runs now, at once. Skips the test where nobody can."""
    if GVISOR:
        return _from_inside(cluster, sandbox, number)
    pid = agent_pid(cluster, sandbox)
    if pid is None:
        pytest.skip("the node's processes are not on this machine")
    return lambda: os.kill(pid, number)


def signal_agent(cluster: Cluster, namespace: str, pod_uid: str, number: int) -> bool:
    """To the agent of that runtime, whichever runs now; False where no process of it can be seen."""
    if GVISOR:
        with contextlib.suppress(KubectlError):  # the command dies with its container, or there is none just now
            where = (f"--namespace={namespace}", "deployment/runner", "--container=agent")
            cluster.kubectl("exec", *where, "--", "sh", "-c", f"kill -{number:d} 1")
        return True
    found = pids(pod_uid, AGENT)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return bool(found)


def _from_inside(cluster: Cluster, sandbox: blocking.Sandbox, number: int) -> Callable[[], None]:
    where = ["--namespace", cluster.refs(sandbox).namespace, cluster.pod(sandbox), "--container=agent", "--stdin"]
    command = kubectl_argv(cluster.state, "exec", *where, "--", "python3", "-c", _SIGNAL_WHEN_TOLD, str(int(number)))
    waiting = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert waiting.stdin is not None
    assert waiting.stdout is not None
    waiting.stdout.readline()

    def tell() -> None:
        waiting.communicate(b"\n")

    return tell
