"""kill -9 of the agent at any moment of a sync leaves the workspace at the old or the new revision."""

from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from sandbox_client import SandboxError, Unavailable, blocking
from tests.harness.cluster import Cluster
from tests.harness.fixtures import RunnerFactory
from tests.harness.killing import agent_killer

FILES = 1500


def content(sandbox: blocking.Sandbox) -> str:
    """A digest over every file that the workspace really holds, not over what the manifest says."""
    files = sandbox.read()
    return hashlib.sha256(b"".join(f"{name}\0".encode() + files[name] for name in sorted(files))).hexdigest()


def generation(number: int) -> dict[str, str | bytes]:
    """A tree in which every file tells its generation; each has files that the other lacks."""
    shared: dict[str, str | bytes] = {
        f"src/{index % 40}/file-{index}.txt": f"generation {number} of {index}\n" * 40 for index in range(FILES)
    }
    return {**shared, **{f"only-{number}/{index}.txt": str(number) for index in range(50)}}


def wait_for_agent(sandbox: blocking.Sandbox) -> None:
    for _ in range(600):
        try:
            sandbox.manifest()
        except (Unavailable, SandboxError):
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the agent did not come back within 60 s")


def test_a_killed_agent_leaves_the_old_or_the_new_revision(cluster: Cluster, make_runner: RunnerFactory) -> None:
    sandbox = make_runner("victim", {"command": ["sleep", "infinity"]})
    old = sandbox.sync(generation(0), mode="mirror", restart="never")
    began = time.monotonic()
    new = sandbox.sync(generation(1), mode="mirror", restart="never")
    seconds = time.monotonic() - began
    digests = {new.revision: content(sandbox)}
    outcomes: list[str] = []
    # three moments: while the body is received and staged, at the change of the trees, close to the answer
    for number, share in enumerate((0.4, 0.75, 0.95), start=2):
        before = sandbox.manifest().revision
        assert before is not None
        digests.setdefault(before, content(sandbox))
        kill = agent_killer(cluster, sandbox)
        started = threading.Event()

        def sync(number: int = number, started: threading.Event = started) -> str | None:
            started.set()
            try:
                return sandbox.sync(generation(number), mode="mirror", restart="never").revision
            except SandboxError:
                return None

        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(sync)
            started.wait()
            time.sleep(seconds * share)
            kill()
            acknowledged = answer.result()
        wait_for_agent(sandbox)
        after = sandbox.manifest().revision
        assert after is not None
        if acknowledged is not None:
            assert after == acknowledged, "an acknowledged revision was lost"
        if after == before:
            outcomes.append("old")
            assert content(sandbox) == digests[before]
        else:
            outcomes.append("new")
            files = sandbox.read()
            assert files == {name: text.encode() if isinstance(text, str) else text for name, text in generation(number).items()}
            digests[after] = content(sandbox)
        # what the app sees is the same revision, and nothing half-written lies about
        seen = cluster.exec(sandbox, "sh", "-c", "cd /workspace && find . -type f | wc -l").strip()
        assert int(seen) == len(sandbox.manifest().entries) - sum(
            entry.type == "directory" for entry in sandbox.manifest().entries
        )
    assert len(outcomes) == 3
    assert old.revision not in (new.revision, None)
    # and it works on
    assert sandbox.sync({"after.txt": "alive"}, restart="never").written == 1
