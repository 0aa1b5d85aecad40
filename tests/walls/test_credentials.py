"""The control token and the key of the agent, hunted by the app: in files, in processes, and at its ports while it is down."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox_client import SandboxError, Unavailable, blocking
from sandbox_operator.controller import control_secret
from sandbox_protocol import names
from tests.harness.cluster import Cluster
from tests.harness.fixtures import RunnerFactory
from tests.harness.killing import agent_killer
from tests.harness.preview import Visitor, browserlike
from tests.harness.processes import agent_pid
from tests.walls import places
from tests.walls.frame import Outcome, Walls, stopped, through

CONTAINER = "container of its own"
PORTS = (7070, 7071, 7080)

# An app that serves its port and, all the while, tries to take the agent's: what then comes to them it writes down.
THIEF = """
import http.server, os, pathlib, socket, ssl, threading, time

def take(port, context):
    while True:
        door = socket.socket()
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            door.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            door.bind(("", port))
            door.listen()
            break
        except OSError:
            door.close()
            time.sleep(0.01)
    book = pathlib.Path(f"/tmp/taken-{port}").open("ab", 0)
    book.write(b"bound\\n")
    while True:
        threading.Thread(target=answer, args=(door.accept()[0], context, book), daemon=True).start()

def answer(one, context, book):
    one.settimeout(2)
    try:
        if context:
            one = context.wrap_socket(one, server_side=True)
        book.write(one.recv(65536) + b"\\n")
        one.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\n{}")
        one.close()
    except OSError as error:
        book.write(type(error).__name__.encode() + b"\\n")

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("own.crt", "own.key")
for port, tls in ((7070, context), (7071, None), (7080, None)):
    threading.Thread(target=take, args=(port, tls), daemon=True).start()
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""

# Every file that can be opened, and of every process what tells a secret. sys.argv: what to look for.
SEARCH = """
import json, os, sys
needles = [word.encode() for word in sys.argv[1:]]
files, processes = [], []
for folder, below, names in os.walk("/"):
    if folder == "/":
        below[:] = [name for name in below if name not in ("proc", "sys", "dev")]
    for name in names:
        path = os.path.join(folder, name)
        try:
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    content = file.read()
                if any(needle in content for needle in needles):
                    files.append(path)
        except OSError:
            pass
def seen(path):
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError:
        return b""
for pid in (entry for entry in os.listdir("/proc") if entry.isdigit() and int(entry) != os.getpid()):
    line = seen(f"/proc/{pid}/cmdline")
    told = line + seen(f"/proc/{pid}/environ") + seen(f"/proc/{pid}/root/run/sandbox/control/token")
    if b"runner_agent\\0agent" in line or any(needle in told for needle in needles):
        processes.append(int(pid))
print(json.dumps({"files": files, "processes": processes}))
"""

BIND = """
import errno, socket, sys
codes = set()
for port in (7070, 7071, 7080):
    # the launcher asks for 7071 at 127.0.0.1 alone, so nothing is won by another address of it, or by all of them
    own = [] if port == 7071 else ["", socket.gethostbyname(socket.gethostname())]
    for host in ("127.0.0.1", *own):
        door = socket.socket()
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            door.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            door.bind((host, port))
            door.listen()
            codes.add("bound")
        except OSError as error:
            codes.add(errno.errorcode[error.errno])
        door.close()
print(*sorted(codes))
"""

# As the launcher does when it comes back; whoever is believed is asked to start something.
POSE = """
import json, socket, struct
one = socket.create_connection(("127.0.0.1", 7071), 5)
hello = b"\\0" + json.dumps({"type": "hello", "pid": 1, "running": []}).encode()
try:
    one.sendall(struct.pack(">I", len(hello)) + hello)
    print("closed" if one.recv(1) == b"" else "believed")
except ConnectionError:
    print("closed")
"""


@dataclass(frozen=True)
class Robbed:
    """A runner whose app is a thief, before its agent ever died."""

    cluster: Cluster
    sandbox: blocking.Sandbox
    token: str
    key: str

    def search(self, container: str) -> dict[str, list[object]]:
        found = self.cluster.exec(self.sandbox, "python3", "-c", SEARCH, self.token, self.key, container=container)
        return dict(json.loads(found))

    def taken(self, port: int) -> bytes:
        code = f"import pathlib; p = pathlib.Path('/tmp/taken-{port}'); print(p.read_bytes().hex() if p.exists() else '')"
        return bytes.fromhex(self.cluster.exec(self.sandbox, "python3", "-c", code).strip())


def secret(cluster: Cluster, sandbox: blocking.Sandbox, key: str) -> str:
    data = cluster.get("secret", names.CONTROL_SECRET, f"--namespace={cluster.refs(sandbox).namespace}")["data"]
    return base64.b64decode(data[key]).decode()


@pytest.fixture(scope="module")
def robbed(cluster: Cluster, make_runner: RunnerFactory) -> Robbed:
    sandbox = make_runner("robbed", {"command": ["python3", "-u", "thief.py"]})
    own = control_secret_of_another(cluster, sandbox)
    sandbox.sync({"thief.py": THIEF, **own})
    sandbox.wait_app()
    key = secret(cluster, sandbox, names.SECRET_TLS_KEY).splitlines()[1]
    return Robbed(cluster, sandbox, secret(cluster, sandbox, names.SECRET_TOKEN), key)


def control_secret_of_another(cluster: Cluster, sandbox: blocking.Sandbox) -> dict[str, str | bytes]:
    """A certificate for the runner's own control host: the name is right, only the key is the app's."""
    made = control_secret.fresh(cluster.refs(sandbox), datetime.now(UTC))
    return {
        "own.crt": base64.b64decode(made[names.SECRET_TLS_CERT]),
        "own.key": base64.b64decode(made[names.SECRET_TLS_KEY]),
    }


def found(what: list[object], nothing: str) -> Outcome:
    return through("found") if what else stopped(nothing)


def test_no_file_of_the_app_holds_token_or_key(walls: Walls, robbed: Robbed) -> None:
    walls.refuse(
        "every readable file searched for the control token and the TLS key",
        wall=CONTAINER,
        inside=lambda: found(robbed.search("app")["files"], "in none of them"),
        outside=lambda: found(robbed.search("agent")["files"], "in none of them"),
    )


def test_the_app_finds_no_process_of_the_agent(walls: Walls, robbed: Robbed) -> None:
    walls.refuse(
        "the agent among the processes: its environment, memory and root, or to trace it",
        wall=CONTAINER,
        inside=lambda: found(robbed.search("app")["processes"], "no such process, and no secret in any"),
        outside=lambda: found(robbed.search("agent")["processes"], "no such process"),
    )


def test_the_app_has_no_token_of_kubernetes(walls: Walls, robbed: Robbed) -> None:
    def inside() -> Outcome:
        code = "import os; print(os.path.exists('/var/run/secrets/kubernetes.io'), 'KUBERNETES_SERVICE_HOST' in os.environ)"
        there, told = robbed.cluster.exec(robbed.sandbox, "python3", "-c", code).split()
        return (
            through("mounted")
            if there == "True"
            else stopped("none" + (", and the API server's address" if told == "True" else ""))
        )

    walls.refuse(
        "a token of a ServiceAccount", wall="pod without one", inside=inside, outside="any pod that does not turn it off has one"
    )


def test_the_app_shares_no_port_with_the_agent(walls: Walls, cluster: Cluster, robbed: Robbed, namespace: str) -> None:
    def bound(words: str) -> Outcome:
        return through("bound") if "bound" in words.split() else stopped(words.strip())

    with places.plain_pod(cluster, namespace) as pod:
        walls.refuse(
            "ports 7070, 7071 and 7080 taken beside the agent, by SO_REUSEPORT and by other addresses",
            wall="agent",
            inside=lambda: bound(cluster.exec(robbed.sandbox, "python3", "-c", BIND)),
            outside=lambda: bound(pod.exec("python3", "-c", BIND)),
        )


def test_the_app_poses_as_its_launcher_in_vain(walls: Walls, cluster: Cluster, robbed: Robbed) -> None:
    def inside() -> Outcome:
        words = cluster.exec(robbed.sandbox, "python3", "-c", POSE).strip()
        return stopped("connection closed") if words == "closed" else through(words)

    walls.refuse(
        "a second launcher says hello to the agent", wall="agent", inside=inside, outside="the first one is the launcher"
    )


# What an app could ask of its agent, and hear of it, in the network that both share.
ASK = """
import ssl, sys, urllib.error, urllib.request
context = ssl._create_unverified_context()
headers = {"Authorization": sys.argv[1]} if sys.argv[1] else {}
request = urllib.request.Request("https://127.0.0.1:7070/v1/status", headers=headers)
try:
    print(urllib.request.urlopen(request, context=context, timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""
LISTEN = """
import errno, socket
for family, kind, protocol in (
    (socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)),
    (socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)),
    (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP),
):
    try:
        socket.socket(family, kind, protocol)
        print("opened")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""
GUESSES = {
    "without a token": "",
    "with a token of its own making": "Bearer " + "A" * 43,
    "with an empty token": "Bearer ",
    "with another scheme": "Basic YWRtaW46",
}


@pytest.mark.parametrize("attack", GUESSES)
def test_the_agent_obeys_its_token_alone(walls: Walls, cluster: Cluster, robbed: Robbed, attack: str) -> None:
    def asked(authorization: str) -> Outcome:
        code = cluster.exec(robbed.sandbox, "python3", "-c", ASK, authorization).strip()
        return through(code) if code == "200" else stopped(code)

    walls.refuse(
        f"the app asks its agent's control port {attack}",
        wall="agent",
        inside=lambda: asked(GUESSES[attack]),
        outside=lambda: asked(f"Bearer {robbed.token}"),
    )


def test_the_app_hears_no_packet_of_its_agent(walls: Walls, cluster: Cluster, robbed: Robbed) -> None:
    def inside() -> Outcome:
        words = set(cluster.exec(robbed.sandbox, "python3", "-c", LISTEN).split())
        return through("opened") if "opened" in words else stopped(", ".join(sorted(words)))

    def outside() -> Outcome:
        words = subprocess.run([sys.executable, "-c", LISTEN], check=True, capture_output=True, text=True).stdout.split()
        return through("opened by root") if set(words) == {"opened"} else stopped(" ".join(words))

    walls.refuse(
        "raw sockets, to hear what comes to the agent in the network that they share",
        wall="no capabilities",
        inside=inside,
        outside=outside,
    )


@pytest.fixture(scope="module")
def taken(cluster: Cluster, robbed: Robbed) -> Robbed:
    """Its agent has crashed in a way that writes a core file, and the thief was quicker than the new one."""
    pid = agent_pid(cluster, robbed.sandbox)
    if pid is None:
        agent_killer(cluster, robbed.sandbox, signal.SIGSEGV)()
    else:
        crash(pid)
    for _ in range(100):
        if all(robbed.taken(port).startswith(b"bound") for port in PORTS):
            return robbed
        time.sleep(0.1)
    pytest.fail("the thief did not get the ports")


def crash(pid: int) -> None:
    """By a fault of its own, as only that may write a core file: the kernel keeps signals sent to it from process 1 of a pod."""
    while (where := Path(f"/proc/{pid}/syscall").read_text().split()[-1]) == "running":
        time.sleep(0.01)
    # zeros are no instruction on ARM; on x86 they store to where the system call's result points, which is nowhere
    instruction = int(where, 16)
    with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
        memory.seek(instruction)
        memory.write(bytes(8))


def test_a_crash_of_the_agent_leaves_nothing_to_the_app(walls: Walls, taken: Robbed) -> None:
    walls.refuse(
        "a core file of the crashed agent, or anything else it left",
        wall=CONTAINER,
        inside=lambda: found(taken.search("app")["files"], "no file holds token or key"),
        outside="its limit of core files is 0, and its root is read-only",
    )


def test_our_api_server_tells_nothing_to_an_app_on_the_control_port(walls: Walls, taken: Robbed) -> None:
    def inside() -> Outcome:
        # the message also says that the agent cannot be reached, should the thief's own accept loop be late
        with pytest.raises((Unavailable, SandboxError), match=r"certificate that is not its own|cannot be reached"):
            taken.sandbox.status()
        told = taken.taken(7070)
        return through("a request") if b"/v1/" in told or taken.token.encode() in told else stopped("503, no request was sent")

    def outside() -> Outcome:
        for _ in range(100):
            if b"GET /healthz" in taken.taken(7070) or b"GET /readyz" in taken.taken(7070):
                return through("the kubelet's probe, which pins no certificate, speaks to it")
            time.sleep(0.1)
        return stopped("nobody came")

    walls.refuse("port 7070 taken by the app while the agent is down", wall="pinned certificate", inside=inside, outside=outside)


def test_an_app_on_the_preview_port_sees_no_credential(walls: Walls, taken: Robbed) -> None:
    """It gets what it always gets, its visitors' requests; what the agent would have done is no part of the wall."""

    async def visit(signed: str) -> tuple[bytes, str]:
        visitor = Visitor(signed)
        async with browserlike() as http:
            await visitor.enter(http)
            session = visitor.headers["Cookie"]
            headers = {**visitor.headers, "Cookie": f"{session}; apps=own", "Authorization": "Bearer of-the-visitor"}
            async with http.get(visitor.origin / "seen", headers=headers) as answer:
                return await answer.read(), session.partition("=")[2]

    body, session = asyncio.run(visit(taken.sandbox.preview().url))
    assert body == b"{}", "the thief answered"
    taken.sandbox.proxy("GET", "/by-proxy", headers={"Cookie": "a=b"})
    told = taken.taken(7080)
    assert b"GET /seen" in told
    assert b"apps=own" in told
    assert b"GET /by-proxy" in told

    def inside() -> Outcome:
        secrets = [session.encode(), taken.token.encode(), b"X-Remote-", b"sandbox_token"]
        return found(
            [word for word in secrets if word.lower() in told.lower()], "its visitors' requests, no session and no token"
        )

    walls.refuse(
        "port 7080 taken by the app while the agent is down",
        wall="gateway and API server",
        inside=inside,
        outside="who visits an app speaks to it anyway",
    )


def test_an_app_on_the_launchers_port_hears_nothing_secret(walls: Walls, taken: Robbed) -> None:
    """The launcher comes and obeys: it starts in the app's own container what the app could start itself."""
    for _ in range(100):
        if b"hello" in taken.taken(7071):
            break
        time.sleep(0.1)
    told = taken.taken(7071)
    assert b"hello" in told
    walls.refuse(
        "port 7071 taken by the app while the agent is down",
        wall="agent",
        inside=lambda: found([word for word in (taken.token, taken.key) if word.encode() in told], "a hello without a secret"),
        outside="the launcher knows no secret, wherever it runs",
    )


def test_a_runner_whose_app_took_the_ports_is_well_after_a_new_pod(cluster: Cluster, taken: Robbed) -> None:
    sandbox = taken.sandbox
    cluster.kubectl("delete", "pod", cluster.pod(sandbox), f"--namespace={cluster.refs(sandbox).namespace}", "--timeout=60s")
    where = f"--namespace={cluster.refs(sandbox).namespace}"
    cluster.kubectl("rollout", "status", "deployment/runner", where, "--timeout=90s")
    sandbox.wait_ready()
    assert sandbox.status()
    assert not taken.taken(7070)
