"""What the app, the user's environment and the image bring decides nothing of how PID 1 of their container starts."""

from __future__ import annotations

import json
import secrets
import time

import pytest

from sandbox_client import blocking
from sandbox_client.errors import SandboxError
from sandbox_protocol import names
from tests.harness.cluster import Cluster
from tests.harness.fixtures import RunnerFactory
from tests.walls import places
from tests.walls.frame import Outcome, Walls, stopped, through

PATIENCE = 60.0

WAYS = {
    "usercustomize.py of the user's packages": "usercustomize",
    "a .pth file of the user's packages": "pth",
    "sitecustomize.py in PYTHONPATH of spec.env": "sitecustomize",
}

# each appends its name and the process that it runs in
PLANT = r"""
import os, pathlib, site
packages = pathlib.Path(site.getusersitepackages())
packages.mkdir(parents=True, exist_ok=True)
line = 'import os; open(os.path.expanduser("~/started"), "a").write("%s %%d\\n" %% os.getpid())\n'
(packages / "usercustomize.py").write_text(line % "usercustomize")
(packages / "attack.pth").write_text(line % "pth")
path = pathlib.Path(os.environ["PYTHONPATH"])
path.mkdir(parents=True, exist_ok=True)
(path / "sitecustomize.py").write_text(line % "sitecustomize")
"""


def started(text: str) -> dict[str, set[int]]:
    """The processes that each way has run in."""
    found: dict[str, set[int]] = {way: set() for way in WAYS.values()}
    for line in text.splitlines():
        way, _, process = line.partition(" ")
        found[way].add(int(process))
    return found


@pytest.fixture(scope="module")
def after_a_restart(make_runner: RunnerFactory) -> dict[str, set[int]]:
    """Planted, suspended and resumed, then a Python of the app's own, which must run all of it."""
    sandbox = make_runner(
        "first", {"command": ["sleep", "100000"], "env": [{"name": "PYTHONPATH", "value": "/workspace/attack"}]}
    )
    assert sandbox.exec("python3", "-c", PLANT).exit_code == 0
    sandbox.suspend()
    sandbox.wait_ready(condition="Suspended")
    sandbox.resume()
    sandbox.wait_ready()
    assert answering(sandbox, "python3", "-c", "pass") == ""
    return started(answering(sandbox, "sh", "-c", 'cat "$HOME/started"'))


def answering(sandbox: blocking.Sandbox, *command: str) -> str:
    """Once the pod that has just come up takes sessions."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return sandbox.exec(*command).stdout.decode()
        except SandboxError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)


@pytest.fixture(scope="module")
def python_as_the_first(cluster: Cluster, namespace: str) -> dict[str, set[int]]:
    """The same files in a container of the same image whose PID 1 is a Python."""
    image = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)["spec"]["defaults"]["image"]
    name = f"first-{secrets.token_hex(3)}"
    body = places.pod_object(image, name, {"app": "attacker"})
    (container,) = body["spec"]["containers"]
    container["env"] = [{"name": "HOME", "value": "/tmp"}, {"name": "PYTHONPATH", "value": "/tmp/attack"}]
    container["command"] = ["sh", "-c", 'python3 -c "$1" && exec python3 -c "import time; time.sleep(600)"', "sh", PLANT]
    cluster.kubectl("create", "-f", "-", f"--namespace={namespace}", stdin=json.dumps(body))
    try:
        cluster.kubectl("wait", f"pod/{name}", f"--namespace={namespace}", "--for=condition=Ready", "--timeout=60s")
        pod = places.Pod(cluster, namespace, name)
        deadline = time.monotonic() + PATIENCE
        while not all((found := started(pod.exec("sh", "-c", "cat /tmp/started || true"))).values()):
            assert time.monotonic() < deadline, found
            time.sleep(0.5)
        return found
    finally:
        cluster.kubectl("delete", "pod", name, f"--namespace={namespace}", "--wait=false")


@pytest.mark.parametrize("attack", WAYS)
def test_nothing_of_the_app_runs_as_the_first_process(
    walls: Walls, after_a_restart: dict[str, set[int]], python_as_the_first: dict[str, set[int]], attack: str
) -> None:
    def ran(found: dict[str, set[int]]) -> Outcome:
        processes = found[WAYS[attack]]
        assert processes, "what was planted has run nowhere, so that this shows nothing"
        return through("ran as PID 1") if 1 in processes else stopped("runs in the app's own commands alone")

    walls.refuse(
        f"start as PID 1 of the container: {attack}",
        wall="a static launcher",
        inside=lambda: ran(after_a_restart),
        outside=lambda: ran(python_as_the_first),
    )
