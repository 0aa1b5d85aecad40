"""The control token is replaced while requests are under way: none is lost, and the old one is worth nothing afterwards."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable

from sandbox_client import blocking
from sandbox_protocol import names
from tests.harness.cluster import Cluster
from tests.walls.frame import Outcome, Walls, stopped, through

ASK = """
import ssl, sys, urllib.error, urllib.request
context = ssl._create_unverified_context()
request = urllib.request.Request("https://127.0.0.1:7070/v1/status", headers={"Authorization": "Bearer " + sys.argv[1]})
try:
    print(urllib.request.urlopen(request, context=context, timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def test_a_rotation_under_load_loses_no_request_and_ends_the_old_token(
    walls: Walls, cluster: Cluster, runner: blocking.Sandbox
) -> None:
    runner.sync({"index.html": "here"})
    namespace = cluster.refs(runner).namespace

    def token() -> str:
        data = cluster.get("secret", names.CONTROL_SECRET, f"--namespace={namespace}")["data"]
        return base64.b64decode(data[names.SECRET_TOKEN]).decode()

    def asked_with(token: str) -> Outcome:
        code = cluster.exec(runner, "python3", "-c", ASK, token).strip()
        return through(code) if code == "200" else stopped(code)

    old, done, failures, answered = token(), threading.Event(), list[str](), list[float]()

    def load(ask: Callable[[], object]) -> None:
        while not done.is_set():
            try:
                ask()
                answered.append(time.monotonic())
            except Exception as error:
                failures.append(f"{type(error).__name__}: {error}")

    counter = iter(range(1_000_000))
    work: list[Callable[[], object]] = [
        runner.status,
        runner.manifest,
        lambda: runner.sync({"number.txt": str(next(counter))}, restart="never"),
    ]
    threads = [threading.Thread(target=load, args=(ask,)) for ask in work]
    for thread in threads:
        thread.start()
    try:
        before = asked_with(old)
        cluster.kubectl("delete", "secret", names.CONTROL_SECRET, f"--namespace={namespace}")
        cluster.kubectl("wait", f"secret/{names.CONTROL_SECRET}", f"--namespace={namespace}", "--for=create", "--timeout=30s")
        new, began = token(), time.monotonic()
        assert new != old
        while not asked_with(new).through:
            assert time.monotonic() - began < 180, "the kubelet never brought the new Secret into the pod"
        arrived = time.monotonic()
        while asked_with(old).through:
            assert time.monotonic() - arrived < 10
        time.sleep(2)  # the replicas meet the refusal, and go on
    finally:
        done.set()
        for thread in threads:
            thread.join()
    print(f"the new token worked {arrived - began:.0f} s after it was made; {len(answered)} requests answered")
    assert failures == []
    assert [moment for moment in answered if moment > arrived]
    walls.allow(
        "replace the control token by deleting its Secret, under load",
        wall="controller",
        inside=lambda: through("every request was answered"),
    )
    walls.refuse(
        "the control token from before the rotation", wall="agent", inside=lambda: asked_with(old), outside=lambda: before
    )
