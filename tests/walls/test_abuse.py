"""An app that takes whatever it can get: it meets a limit, its own agent goes on answering, and so does its neighbour."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import pytest

from devcluster.kubectl import KubectlError
from devcluster.settings import NODE
from sandbox_client import SandboxError, blocking
from sandbox_client.records import Condition, ProcessState
from sandbox_client.waiting import conditions
from sandbox_protocol import names
from tests.cluster.test_apiserver import verb_path
from tests.harness.cluster import Cluster
from tests.harness.fixtures import GVISOR, RunnerFactory
from tests.walls.frame import Outcome, Walls, stopped, through
from tests.walls.places import plain_pod, template

PATIENCE = 90.0
"""Seconds for an attack to meet its limit, on a machine that does other things too."""
MIB = 1 << 20
LIMITS = {"cpu": "1", "memory": "512Mi", "ephemeral-storage": "1Gi"}

FORK_BOMB = """
import os
os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
tell = True
while True:
    try:
        os.fork()
    except OSError as error:
        if tell:
            print("met", os.strerror(error.errno), flush=True)
            tell = False
"""
PROCESS_LEAK = """
import os, time
while True:
    if os.fork() == 0:
        time.sleep(600)
    time.sleep(0.02)
"""
MEMORY_HOG = """
hoard = []
while True:
    hoard.append(b"x" * (16 << 20))
"""
DISK_FILLER = """
import os, time
os.makedirs("PLACE", exist_ok=True)
piece = os.urandom(1 << 20)
try:
    with open("PLACE/filler", "wb", buffering=0) as file:
        while True:
            file.write(piece)
except OSError as error:
    print("met", os.strerror(error.errno), flush=True)
time.sleep(600)
"""
EAT_INODES = """
import os, time
os.makedirs("PLACE", exist_ok=True)
made = 0
while made < MOST:
    os.close(os.open(f"PLACE/{made}", os.O_CREAT | os.O_WRONLY))
    made += 1
"""
INODE_EATER = """
try:
    exec(EAT_INODES)
except OSError as error:
    print("met", os.strerror(error.errno), "after", made, flush=True)
time.sleep(600)
""".replace("EAT_INODES", repr(EAT_INODES.replace("MOST", "1 << 30")))
LOG_FLOOD = """
import sys
line = b"flood " * 200 + b"\\n"
print("met nothing yet", flush=True)
while True:
    sys.stdout.buffer.write(line)
"""
OPEN_FILES = """
import os, time
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    print("met", os.strerror(error.errno), "after", len(held), flush=True)
time.sleep(600)
"""
PLACES = 60
"""16 and 32 from inside the pod, 4 beside the launcher's, and some that are just being turned away."""
CONNECTIONS = """
import socket, ssl, time
held, refused = [], 0
for number in range(1000):
    for port in (7070, 7080, 7071):
        one = socket.socket()
        one.settimeout(5)
        try:
            one.connect(("127.0.0.1", port))
            held.append(one)
        except OSError:
            refused += 1
def alive(one):
    try:
        return one.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
for one in held:
    one.setblocking(False)
for again in range(50):  # what the kernel has queued counts as open until the agent comes to it
    held = [one for one in held if alive(one)]
    if len(held) <= PLACES:
        break
    time.sleep(0.2)
print("met", len(held), "of 3000 left open", flush=True)
time.sleep(600)
""".replace("PLACES", str(PLACES))
SLOW_LORIS = """
import socket, time
held = []
def send(one, data):
    try:
        one.send(data)
    except OSError:
        pass
for port, first in ((7070, b"\\x16\\x03\\x01\\x02\\x00"), (7080, b"GET / HTTP/1.1\\r\\nHost: x\\r\\nX-Slow: ")):
    for _ in range(500):
        one = socket.create_connection(("127.0.0.1", port))
        send(one, first)
        held.append(one)
print("met 1000 begun", flush=True)
while True:
    for one in held:
        send(one, b"a")
    time.sleep(1)
"""
KILL_KEEPER = """
import os, time
keeper = os.getppid()
launcher = int(open(f"/proc/{keeper}/stat").read().rpartition(")")[2].split()[1])
def outcome(act):
    try:
        act()
    except OSError as error:
        return os.strerror(error.errno)
    return "done"
print("met", outcome(lambda: os.kill(keeper, 9)), "/", outcome(lambda: os.kill(launcher, 15)), "/",
      outcome(lambda: open(f"/proc/{launcher}/mem", "rb")), flush=True)
time.sleep(600)
"""
STAY_AWAKE = """
import os, socket, time, urllib.error, urllib.request
own = socket.gethostbyname(socket.gethostname())
visits = 0
for _ in range(20):
    for host in (own, "127.0.0.1"):
        try:
            urllib.request.urlopen(f"http://{host}:7080/", timeout=5).read()
        except urllib.error.HTTPError:
            pass  # nothing listens behind it
        visits += host != "127.0.0.1"
    time.sleep(0.1)
os.makedirs("junk", exist_ok=True)
open("junk/visits", "w").write(str(visits))
time.sleep(600)
"""
JUNK = ("/workspace/junk", "/tmp/junk", "/home/sandbox/junk")
MANY = 100_000
TERMINATION_LOG = """
import os, time
try:
    with open("/dev/termination-log", "wb") as file:
        file.write(bytes(1 << 20))
    said = "done"
except OSError as error:
    said = os.strerror(error.errno)
print("met", said, flush=True)
time.sleep(600)
"""
IDLE = "import time\ntime.sleep(600)\n"


same_below_any_kernel = pytest.mark.skipif(GVISOR, reason="about objects of the API, which are the same below any kernel")


class Attack(NamedTuple):
    name: str
    wall: str
    code: str
    limit: str


@pytest.fixture(scope="module")
def attacker(make_runner: RunnerFactory) -> blocking.Sandbox:
    """Its app is attack.py."""
    spec = {"command": ["python3", "-u", "attack.py"], "resources": {"limits": LIMITS}, "storage": {"size": "256Mi"}}
    return make_runner("attacker", spec)


@pytest.fixture(scope="module")
def neighbour(make_runner: RunnerFactory) -> blocking.Sandbox:
    sandbox = make_runner("neighbour")
    sandbox.sync({"index.html": "neighbour"})
    sandbox.wait_app()
    return sandbox


@pytest.fixture
def on_the_node(cluster: Cluster, namespace: str) -> Callable[[str], str]:
    """What Python code says in a pod whose root file system can be written, and is the node's disk."""

    def run(code: str) -> str:
        with plain_pod(cluster, namespace) as pod:
            return pod.exec("python3", "-c", code)

    return run


@pytest.fixture(autouse=True)
def afterwards(cluster: Cluster, attacker: blocking.Sandbox) -> Iterator[None]:
    """What an attack left is gone before the next."""
    yield
    with contextlib.suppress(SandboxError):  # the volume may be full of what no sync can delete
        attacker.sync({"attack.py": IDLE}, delete=["junk"], restart="always")
    wait_for(lambda: cluster.exec(attacker, "rm", "-rf", *JUNK))
    wait_for(lambda: attacker.sync({"attack.py": IDLE}, restart="always"))


def wait_for(act: Callable[[], object]) -> None:
    """The container may be starting again: for its memory the kernel can kill any process of it, under gVisor all."""
    deadline = time.monotonic() + 2 * PATIENCE
    while True:
        try:
            act()
        except (KubectlError, SandboxError):
            if time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(1)


def begin(attacker: blocking.Sandbox, code: str) -> str:
    """The word that this attack, and none before, says first of what it meets."""
    word = f"met-{secrets.token_hex(4)} "
    attacker.sync({"attack.py": code.replace('"met ', f'"{word}').replace('"met"', f'"{word.strip()}"')}, restart="always")
    return word


def met(attacker: blocking.Sandbox, word: str) -> str:
    """What the attack said that it met; the agent has to answer all the while."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for record in attacker.log_records(process="web"):
            if record.text.startswith(word):
                return record.text.removeprefix(word)
        time.sleep(0.3)
    raise AssertionError(f"the attack met nothing in {PATIENCE:.0f} s: {attacker.status().process}")


def answers(attacker: blocking.Sandbox, neighbour: blocking.Sandbox) -> None:
    """The attacker's agent and its neighbour, five times each, while the attack goes on."""
    for _ in range(5):
        started = time.monotonic()
        assert attacker.status().isolation["agent"]
        print(f"status in {time.monotonic() - started:.3f} s")
        assert neighbour.proxy("GET", "/index.html").body == b"neighbour"


FULL = "No space left on device"
WATCH = "watch of the launcher"
"""In gVisor, where the containers of a pod share one kernel and its memory."""


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(
            Attack("fork bomb", "RLIMIT_NPROC by the launcher", FORK_BOMB, "Resource temporarily unavailable"),
            marks=pytest.mark.skipif(GVISOR, reason="gVisor does not keep RLIMIT_NPROC"),
        ),
        Attack("open files without end", "RLIMIT_NOFILE by the launcher", OPEN_FILES, "Too many open files"),
        *(Attack(f"fill {where}", "size of the volume", DISK_FILLER.replace("PLACE", where), FULL) for where in JUNK),
    ],
    ids=lambda attack: attack.name,
)
def test_what_takes_without_end_meets_its_limit_and_hurts_only_itself(
    walls: Walls, attacker: blocking.Sandbox, neighbour: blocking.Sandbox, attack: Attack
) -> None:
    def attempt() -> Outcome:
        said = met(attacker, begin(attacker, attack.code))
        answers(attacker, neighbour)
        return stopped(f"{attack.limit}; the agent and the neighbour answer") if attack.limit in said else through(said)

    walls.refuse(attack.name, wall=attack.wall, inside=attempt, outside="it would take the node's own")


@pytest.mark.parametrize("where", JUNK)
def test_files_without_end_meet_the_volumes_inodes_and_hurt_only_their_app(
    walls: Walls, on_the_node: Callable[[str], str], attacker: blocking.Sandbox, neighbour: blocking.Sandbox, where: str
) -> None:
    def attempt() -> Outcome:
        said = met(attacker, begin(attacker, INODE_EATER.replace("PLACE", where)))
        answers(attacker, neighbour)
        assert attacker.status().usage["workspaceFreeFiles"] == 0
        return stopped(f"{FULL}; the agent and the neighbour answer") if FULL in said else through(said)

    def without() -> Outcome:
        """More than the attacker's volume has."""
        made = on_the_node(EAT_INODES.replace("PLACE", "/tmp/junk").replace("MOST", str(MANY)) + "print(made)")
        return through("the node's own") if int(made) == MANY else stopped(made)

    walls.refuse(f"files without end in {where}", wall="inodes of the volume", inside=attempt, outside=without)


@pytest.mark.parametrize(
    ("code", "reason", "numbers"),
    [
        (DISK_FILLER, "FewBytesLeft", r"\d+ MiB are free of 2\d\d MiB and \d+ files"),
        (INODE_EATER, "FewFilesLeft", r"^\d+ files are free of 2\d\d MiB and \d+ files"),
    ],
    ids=["bytes", "inodes"],
)
def test_a_volume_without_room_is_told_in_numbers(
    cluster: Cluster, attacker: blocking.Sandbox, code: str, reason: str, numbers: str
) -> None:
    met(attacker, begin(attacker, code.replace("PLACE", JUNK[0])))
    with pytest.raises(SandboxError, match=r"volume is full: \d+ bytes and \d+ files are used, \d+ bytes and \d+ files free"):
        attacker.sync({"more.txt": "x" * 3_000_000}, restart="never")
    pressure = disk_pressure(attacker, "True")
    assert pressure.reason == reason
    assert re.search(numbers, pressure.message), pressure.message
    attacker.sync({}, delete=["junk"], restart="never")
    # under gVisor the app's container may hold what it had open until it looks there again
    look = partial(cluster.exec, attacker, "sh", "-c", "ls -R /workspace")
    assert disk_pressure(attacker, "False", meanwhile=look).reason == "RoomLeft"


@pytest.fixture
def boundless(cluster: Cluster) -> Iterator[str]:
    """A StorageClass whose volume is a directory of the node's disk, as of local-path or hostPath: nothing bounds it."""
    name = f"boundless-{secrets.token_hex(3)}"
    folder = cluster.state.root / "volumes" / name
    folder.mkdir()
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}]}
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": name,
            "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        },
    }
    cluster.apply(storage_class, volume)
    yield name
    cluster.kubectl("delete", "storageclass,persistentvolume", name, "--wait=false")
    shutil.rmtree(folder)


@pytest.mark.skipif(GVISOR, reason="gVisor shows no container that its volume is part of a larger file system")
def test_a_volume_that_nothing_bounds_is_measured_and_told(make_runner: RunnerFactory, boundless: str) -> None:
    """300 MiB where 64 were asked for."""
    code = "with open('large', 'wb') as file:\n    for _ in range(300):\n        file.write(bytes(1 << 20))\n"
    spec = {"command": ["python3", "-c", code], "storage": {"size": "64Mi", "storageClassName": boundless}}
    sandbox = make_runner("boundless", spec)
    try:
        sandbox.sync({"started.txt": "x"})
        pressure = disk_pressure(sandbox, "True", patience=180.0)  # what is held is counted once a minute
        assert pressure.reason == "OverSize"
        assert "holds 320 MiB, storage.size is 64 MiB" in pressure.message  # in steps of 64
        assert sandbox.status().usage["volumeShared"]
        assert sandbox.status().usage["workspaceBytes"] >= 300 * MIB
    finally:
        sandbox.delete()


@pytest.fixture
def growing(cluster: Cluster) -> Iterator[str]:
    """A StorageClass whose volumes can grow, as far as the API server and its quotas are concerned."""
    name = f"growing-{secrets.token_hex(3)}"
    made = {key: value for key, value in cluster.get("storageclass", "loop").items() if key != "metadata"}
    cluster.apply({**made, "metadata": {"name": name}, "allowVolumeExpansion": True})
    yield name
    cluster.kubectl("delete", "storageclass", name)


@same_below_any_kernel
def test_a_volume_grows_within_the_bounds_and_its_quota_with_it(
    cluster: Cluster, make_runner: RunnerFactory, client: blocking.Client, growing: str
) -> None:
    sandbox = make_runner("growing", {"storage": {"size": "64Mi", "storageClassName": growing}})
    where = ("workspace", f"--namespace={cluster.refs(sandbox).namespace}")
    try:
        client.apply("growing", {"storage": {"size": "128Mi", "storageClassName": growing}})
        deadline = time.monotonic() + 30
        while cluster.get("persistentvolumeclaim", *where)["spec"]["resources"]["requests"]["storage"] != "128Mi":
            assert time.monotonic() < deadline, sandbox.refresh()["status"]["conditions"]
            time.sleep(0.5)
        assert {item.status for item in conditions(sandbox.refresh()) if item.type == "Provisioned"} == {"True"}
    finally:
        sandbox.delete()


def disk_pressure(
    sandbox: blocking.Sandbox, status: str, patience: float = PATIENCE, meanwhile: Callable[[], object] = lambda: None
) -> Condition:
    """The condition, once it has the status: the controller asks every 30 s."""
    deadline = time.monotonic() + patience
    while True:
        (found,) = [item for item in conditions(sandbox.refresh()) if item.type == "DiskPressure"]
        if found.status == status:
            return found
        assert time.monotonic() < deadline, found
        meanwhile()
        time.sleep(1)


def restarts(cluster: Cluster, sandbox: blocking.Sandbox) -> int:
    """Of all containers of its pod."""
    status = cluster.get("pod", cluster.pod(sandbox), f"--namespace={cluster.refs(sandbox).namespace}")["status"]
    return sum(one["restartCount"] for one in (*status["initContainerStatuses"], *status["containerStatuses"]))


def ended_for(attacker: blocking.Sandbox, words: str) -> ProcessState:
    """The attack, once its agent says that it ended for that; the agent has to answer all the while."""
    deadline = time.monotonic() + PATIENCE
    while words not in (process := attacker.status().process).message:
        assert time.monotonic() < deadline, process
        time.sleep(0.3)
    return process


@pytest.mark.skipif(not GVISOR, reason="elsewhere RLIMIT_NPROC holds")
def test_under_gvisor_processes_without_end_are_ended_and_the_agent_says_why(
    walls: Walls, cluster: Cluster, attacker: blocking.Sandbox, neighbour: blocking.Sandbox
) -> None:
    def attempt() -> Outcome:
        before = restarts(cluster, attacker)
        begin(attacker, PROCESS_LEAK)
        ended_for(attacker, "was killed by SIGKILL: ")  # for their number, or for what they need
        answers(attacker, neighbour)
        assert restarts(cluster, attacker) == before
        return stopped("ended; the agent and the neighbour answer")

    walls.refuse("processes without end", wall=WATCH, inside=attempt, outside="the pod would be killed, with its agent")


@pytest.mark.skipif(not GVISOR, reason="elsewhere RLIMIT_NPROC holds")
def test_under_gvisor_a_fork_bomb_takes_its_pod_at_most(
    walls: Walls, cluster: Cluster, attacker: blocking.Sandbox, neighbour: blocking.Sandbox
) -> None:
    """The kernel that the pod's containers share may leave the launcher no turn to end it."""

    def over(before: int) -> bool:
        with contextlib.suppress(SandboxError):
            return "was killed by SIGKILL: " in attacker.status().process.message
        return restarts(cluster, attacker) > before

    def attempt() -> Outcome:
        before = restarts(cluster, attacker)
        begin(attacker, FORK_BOMB)
        deadline = time.monotonic() + PATIENCE
        while not over(before):
            assert time.monotonic() < deadline
            assert neighbour.proxy("GET", "/index.html").body == b"neighbour"
            time.sleep(1)
        wait_for(lambda: attacker.sync({"attack.py": IDLE}, restart="always"))
        answers(attacker, neighbour)
        return stopped("ended, or its pod is killed with the agent and starts anew; the neighbour answers")

    walls.refuse("fork bomb", wall="memory limit of the pod", inside=attempt, outside="it would take the node's own")


def test_an_app_that_takes_all_memory_is_killed_and_its_agent_says_why(
    walls: Walls, cluster: Cluster, attacker: blocking.Sandbox, neighbour: blocking.Sandbox
) -> None:
    limit = "pod is 896 MiB, and of that some is kept for its agent" if GVISOR else "container is 512 MiB"

    def attempt() -> Outcome:
        before = restarts(cluster, attacker)
        begin(attacker, MEMORY_HOG)
        assert ended_for(attacker, f"out of memory: the limit of the {limit}").reason == "OOMKilled"
        answers(attacker, neighbour)
        assert restarts(cluster, attacker) == before or not GVISOR
        return stopped("OOMKilled; the agent and the neighbour answer")

    wall = WATCH if GVISOR else "memory limit"
    walls.refuse("take all memory", wall=wall, inside=attempt, outside="it would take the node's own")


def test_a_flood_of_lines_keeps_neither_the_agent_nor_the_neighbour_from_answering(
    walls: Walls, attacker: blocking.Sandbox, neighbour: blocking.Sandbox
) -> None:
    def attempt() -> Outcome:
        begin(attacker, LOG_FLOOD)
        time.sleep(3)  # of flood
        answers(attacker, neighbour)
        free = attacker.status().usage["workspaceFreeBytes"]
        return stopped("lines are dropped and counted; the volume keeps its place") if free > 100 * MIB else through("disk full")

    walls.refuse("flood the log", wall="bounds of the log", inside=attempt, outside="the volume would be full")


@pytest.mark.parametrize(
    ("attack", "code"), [("hold thousands of connections to the agent", CONNECTIONS), ("slow loris at the agent", SLOW_LORIS)]
)
def test_an_app_cannot_use_up_its_agents_connections(
    walls: Walls, attacker: blocking.Sandbox, neighbour: blocking.Sandbox, attack: str, code: str
) -> None:
    def attempt() -> Outcome:
        said = met(attacker, begin(attacker, code)).split()
        answers(attacker, neighbour)
        if code is CONNECTIONS and int(said[0]) > PLACES:
            return through(" ".join(said))
        return stopped("turned away before it costs anything; the agent answers others")

    walls.refuse(attack, wall="places by peer in the agent", inside=attempt, outside="the agent would be out of descriptors")


def landlock(sandbox: blocking.Sandbox) -> int:
    """Its version, which the launcher says when it has found the agent: a runner may be Ready a moment before."""
    deadline = time.monotonic() + 30
    while (told := sandbox.status().isolation.get("app")) is None:
        assert time.monotonic() < deadline, "the launcher never said what isolates it"
        time.sleep(0.2)
    return int(told["landlock"])


def test_an_app_cannot_touch_what_keeps_it(walls: Walls, cluster: Cluster, attacker: blocking.Sandbox) -> None:
    version = landlock(attacker)
    if version < 6:
        pytest.skip(f"Landlock {version} of this node keeps no signals in")

    def attempt() -> Outcome:
        said = met(attacker, begin(attacker, KILL_KEEPER))
        return stopped("EPERM, EACCES") if "done" not in said else through(said)

    def free() -> Outcome:
        """The same user in the same container, outside the domain; signal 0 changes nothing."""
        cluster.exec(attacker, "python3", "-c", "import os; os.kill(1, 0); open('/proc/1/mem', 'rb')")
        return through("signalled and opened")

    walls.refuse("signal its keeper and the launcher, read their memory", wall="Landlock", inside=attempt, outside=free)


def test_an_app_cannot_write_to_the_nodes_disk_by_its_termination_log(
    walls: Walls, on_the_node: Callable[[str], str], attacker: blocking.Sandbox
) -> None:
    """The kubelet mounts one into each container and counts it nowhere; a mebibyte is enough to show."""
    if not landlock(attacker):
        pytest.skip("without Landlock it is not defended")

    def attempt() -> Outcome:
        said = met(attacker, begin(attacker, TERMINATION_LOG))
        return stopped("EACCES") if "Permission denied" in said else through(said)

    def without() -> Outcome:
        said = on_the_node(TERMINATION_LOG.replace("time.sleep(600)", ""))
        return through("written to the node's disk, counted nowhere") if "done" in said else stopped(said)

    walls.refuse("fill the node's disk by /dev/termination-log", wall="Landlock", inside=attempt, outside=without)


def test_an_app_cannot_keep_its_own_runner_awake(walls: Walls, cluster: Cluster, attacker: blocking.Sandbox) -> None:
    def last() -> str:
        """To the second; asked by a verb that does not count, as is kubectl's own exec."""
        return str(json.loads(cluster.kubectl("get", "--raw", verb_path(attacker, "status")))["lastActivity"])

    def visits() -> int:
        deadline = time.monotonic() + PATIENCE
        while not (said := cluster.exec(attacker, "sh", "-c", "cat /workspace/junk/visits || true")):
            assert time.monotonic() < deadline
            time.sleep(0.3)
        return int(said)

    def attempt() -> Outcome:
        begin(attacker, STAY_AWAKE)
        began = last()
        assert visits() == 20  # at the pod's own address, in two seconds
        return stopped("visits from inside the pod count for nobody") if last() == began else through("counted")

    def from_outside() -> Outcome:
        began = last()
        time.sleep(1.1)
        with contextlib.suppress(SandboxError):
            attacker.proxy("GET", "/")
        return through("a visit from outside counts") if last() > began else stopped("not counted")

    walls.refuse("visit its own preview, so as never to be idle", wall="peers of the agent", inside=attempt, outside=from_outside)


# Services, accounts, volumes, and what makes pods, are refused by admission policies before they are counted.
OBJECTS = ("Secret", "ConfigMap")
TRIED = 10
"""More than any of the counts of a runtime namespace."""


@same_below_any_kernel
@pytest.mark.parametrize("kind", OBJECTS)
def test_a_runtime_namespace_holds_few_objects_of_a_kind(
    walls: Walls, cluster: Cluster, namespace: str, attacker: blocking.Sandbox, kind: str
) -> None:
    def flood(where: str) -> Outcome:
        """By the administrator: who may less is stopped no later."""
        for number in range(TRIED):
            body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": f"flood-{number}", "labels": {"flood": "yes"}}}
            try:
                cluster.kubectl("create", "-f", "-", f"--namespace={where}", stdin=json.dumps(body))
            except KubectlError as error:
                refusal, _, counts = str(error).partition("used: ")
                if "exceeded quota: limits" not in refusal:
                    raise
                return stopped(counts.strip())
        return through(f"{TRIED} made")

    def clean(where: str) -> Outcome:
        try:
            return flood(where)
        finally:
            cluster.kubectl("delete", kind, "--selector=flood=yes", f"--namespace={where}", "--wait=false")

    walls.refuse(
        f"{kind} objects without end",
        wall="ResourceQuota `limits`",
        inside=lambda: clean(cluster.refs(attacker).namespace),
        outside=lambda: clean(namespace),
    )


@same_below_any_kernel
@pytest.mark.parametrize("group", ["perNamespace", "perUser"])
def test_one_runner_too_many_is_not_made_and_is_told_the_numbers(
    cluster: Cluster, client: blocking.Client, attacker: blocking.Sandbox, neighbour: blocking.Sandbox, group: str
) -> None:
    older = [attacker, neighbour]
    bounds = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)["spec"]["bounds"]
    with template(cluster, bounds={**bounds, "runners": {group: len(older)}}) as name:
        sandbox = client.apply("one-too-many", {"templateRef": {"name": name}})
        try:
            with pytest.raises(SandboxError, match=rf"has 3 runners, of which 2 are older .* {name} allows 2 \(spec.*{group}\)"):
                sandbox.wait_ready()
            assert not cluster.get("namespaces", f"--selector={names.LABEL_RUNNER_UID}={cluster.refs(sandbox).uid}")["items"]
        finally:
            sandbox.delete()


@same_below_any_kernel
def test_nobody_makes_runners_in_another_s_name(cluster: Cluster, client: blocking.Client, attacker: blocking.Sandbox) -> None:
    def creator() -> str:
        annotations = attacker.refresh()["metadata"]["annotations"]
        return str(annotations[names.ANNOTATION_CREATOR])

    me = creator()
    assert me.startswith(f"system:serviceaccount:{attacker.namespace}:user-")
    for forged in (f"{names.ANNOTATION_CREATOR}=somebody-else", f"{names.ANNOTATION_CREATOR}-"):
        where = f"--namespace={attacker.namespace}"
        cluster.kubectl("annotate", "sandboxrunner", attacker.name, where, "--overwrite", forged)
        assert creator() == me


@same_below_any_kernel
def test_a_namespace_holds_no_more_runners_than_its_quota(cluster: Cluster, client: blocking.Client, namespace: str) -> None:
    count = "count/sandboxrunners.infrastructure.appstudio.dev"
    quota = {"metadata": {"name": "runners", "namespace": namespace}, "spec": {"hard": {count: "0"}}}
    cluster.apply({"apiVersion": "v1", "kind": "ResourceQuota", **quota})
    try:
        deadline = time.monotonic() + 30
        while "hard" not in cluster.get("resourcequota", "runners", f"--namespace={namespace}").get("status", {}):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        with pytest.raises(SandboxError, match=r"exceeded quota: runners.*limited: count/sandboxrunners\S*=0"):
            client.create("one-too-many", {})
    finally:
        cluster.kubectl("delete", "resourcequota", "runners", f"--namespace={namespace}")
