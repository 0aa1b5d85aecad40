"""``exec`` in a real pod: by the code of `kubectl exec`, by the SDK and by the plugin; and what it must not open."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import hashlib
import json
import os
import pty
import random
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml

from devcluster import builds
from devcluster.programs import TEST_PROGRAMS
from sandbox_client import ApiError, Client, Forbidden, NotFound, Unavailable, blocking
from sandbox_client.api import Api, Request, path
from sandbox_client.kubeconfig import Connection
from sandbox_protocol import names
from tests.harness.cluster import Cluster, verb_rule
from tests.harness.fixtures import GVISOR, RunnerFactory, UserFactory

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]

SIZES = """
import os, time
seen = []
while len(seen) < 3:
    size = os.get_terminal_size()
    if size.columns and size not in seen:
        seen.append(size)
        print(*size)
    time.sleep(0.02)
"""
BOMB = """
import os, signal
children = []
try:
    while True:
        pid = os.fork()
        if not pid:
            signal.pause()
        children.append(pid)
except BlockingIOError:
    pass
for pid in children:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
print(len(children))
"""
BIG = 50 * 1024 * 1024


def exec_path(sandbox: blocking.Sandbox) -> str:
    return path(
        "apis", names.SUBRESOURCE_GROUP, names.VERSION, "namespaces", sandbox.namespace, names.PLURAL, sandbox.name, "exec"
    )


def kubeconfig(connection: Connection, file: Path) -> Path:
    (file.parent / "ca.crt").write_text(connection.ca_data or "")
    cluster = {"server": connection.server, "certificate-authority": "ca.crt"}
    context = {"cluster": "c", "user": "u", "namespace": connection.namespace}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": context}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": connection.token}}],
    }
    file.write_text(yaml.safe_dump(document))
    return file


@pytest.fixture(scope="module")
def editor(user: UserFactory) -> Connection:
    return user("edit")


@pytest.fixture(scope="module")
def editor_file(editor: Connection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kubeconfig(editor, tmp_path_factory.mktemp("editor") / "kubeconfig")


@pytest.fixture(scope="module")
def kubectl_exec(cluster: Cluster, editor_file: Path) -> Run:
    """``kubectl_exec(sandbox, [option, …], command, …)``: kubectl's own code against our subresource, as an editor."""
    builds.ensure(cluster.state, TEST_PROGRAMS)

    def run(
        sandbox: blocking.Sandbox, options: Sequence[str], *command: str, stdin: bytes = b"", config: Path = editor_file
    ) -> subprocess.CompletedProcess[bytes]:
        words = [str(cluster.state.bin / "remoteexec"), *options, exec_path(sandbox), *command]
        environ = {**os.environ, "KUBECONFIG": str(config)}
        return subprocess.run(words, input=stdin, env=environ, capture_output=True, check=False, timeout=120)

    return run


# kubectl's own code


def test_kubectl_s_code_carries_input_both_outputs_and_the_exit_code(kubectl_exec: Run, runner: blocking.Sandbox) -> None:
    done = kubectl_exec(runner, ["-stdin"], "sh", "-c", "cat; echo wrong >&2; pwd; exit 3", stdin=b"given\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"given\n/workspace\n", b"wrong\n")


def test_the_end_of_input_arrives(kubectl_exec: Run, runner: blocking.Sandbox) -> None:
    done = kubectl_exec(runner, ["-stdin"], "sh", "-c", "wc -c; echo after", stdin=b"x" * 300_000)
    assert (done.returncode, done.stdout.split()) == (0, [b"300000", b"after"])


def test_a_terminal_has_the_size_it_is_given_and_follows_it(kubectl_exec: Run, runner: blocking.Sandbox) -> None:
    done = kubectl_exec(runner, ["-tty=80x24,132x43,61x17"], "python3", "-c", SIZES)
    assert (done.returncode, done.stdout.split(b"\r\n")) == (0, [b"80 24", b"132 43", b"61 17", b""])


def test_stty_knows_the_size_too(kubectl_exec: Run, runner: blocking.Sandbox) -> None:
    done = kubectl_exec(runner, ["-tty=97x31"], "sh", "-c", "sleep 0.5; stty size")
    assert (done.returncode, done.stdout) == (0, b"31 97\r\n")


def test_fifty_megabytes_arrive_whole(kubectl_exec: Run, runner: blocking.Sandbox) -> None:
    # gVisor's pipes to an exec take a part of a large write, in plain `kubectl exec` too, and say how much; Linux takes it all
    script = f"""
import os, random
data = memoryview(random.Random(7).randbytes({BIG}))
while data:
    data = data[os.write(1, data) :]
"""
    want = hashlib.sha256(random.Random(7).randbytes(BIG)).hexdigest()
    done = kubectl_exec(runner, [], "python3", "-c", script)
    assert (done.returncode, len(done.stdout), hashlib.sha256(done.stdout).hexdigest()) == (0, BIG, want)


def test_what_cannot_be_run_says_so(kubectl_exec: Run, runner: blocking.Sandbox) -> None:
    done = kubectl_exec(runner, [], "no-such-program")
    assert done.returncode == 127
    assert done.stderr.startswith(b"exec: no-such-program: this image has no such program")


def test_a_refusal_reaches_kubectl_s_user_although_it_falls_back_to_spdy(
    kubectl_exec: Run, runner: blocking.Sandbox, user: UserFactory, tmp_path: Path
) -> None:
    viewer = kubeconfig(user("view"), tmp_path / "kubeconfig")
    done = kubectl_exec(runner, [], "true", config=viewer)
    assert done.returncode == 125
    assert b"forbidden" in done.stderr


# SDK and plugin


def test_the_sdk_gives_output_and_exit_code(runner: blocking.Sandbox) -> None:
    done = runner.exec("sh", "-c", "cat; echo wrong >&2; exit 4", stdin=b"x" * 200_000)
    assert (done.exit_code, done.stdout, done.stderr) == (4, b"x" * 200_000, b"wrong\n")
    assert runner.exec("true").exit_code == 0


def test_an_argument_arrives_as_it_is(runner: blocking.Sandbox) -> None:
    words = ["a b", "", "&container=agent", "'\"$(id)`", "../..", "%2e%2E#?", "ü\n", "--"]
    done = runner.exec("python3", "-c", "import sys,json;print(json.dumps(sys.argv[1:]))", *words)
    assert json.loads(done.stdout) == words


async def test_a_session_is_kept_alive_and_can_be_talked_to(editor: Connection, runner: blocking.Sandbox) -> None:
    async with Client(editor) as client, client.sandbox(runner.name).exec_session("cat", stdin=True) as session:
        output = session.output()
        for word in (b"one\n", b"two\n"):
            await session.write(word)
            assert await anext(output) == ("stdout", word)
            await asyncio.sleep(1)
        await session.close_stdin()
        assert [piece async for piece in output] == []
        assert session.exit_code == 0


def test_the_plugin_s_exit_code_is_the_command_s(editor_file: Path, runner: blocking.Sandbox) -> None:
    words = [sys.executable, "-m", "sandbox_client.cli", "exec", "--kubeconfig", str(editor_file), runner.name, "-i", "--"]
    done = subprocess.run([*words, "sh", "-c", "cat; exit 5"], input=b"given", capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (5, b"given", b"")


def test_the_plugin_passes_a_terminal_with_its_size_and_its_interrupt(editor_file: Path, runner: blocking.Sandbox) -> None:
    words = [sys.executable, "-m", "sandbox_client.cli", "exec", "--kubeconfig", str(editor_file), runner.name, "-it", "--"]
    program = 'stty size; trap "echo interrupted; exit 6" INT; echo ready; while :; do sleep 0.1; done'
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*words, "sh", "-c", f"sleep 0.5; {program}"])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    seen, typed = b"", False
    with contextlib.suppress(OSError):  # EIO: the other side is gone
        while data := os.read(terminal, 4096):
            seen += data
            if b"ready" in seen and not typed:
                typed = True  # once: an interrupt also drops what the terminal has not shown yet
                os.write(terminal, b"\x03")
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 6
    assert seen == b"33 101\r\nready\r\n^Cinterrupted\r\n"


# what it must not open


@pytest.mark.skipif(GVISOR, reason="gVisor's own kernel keeps no RLIMIT_NPROC and shows no seccomp filter")
def test_what_runs_is_the_app_s_user_under_its_limits_without_a_secret(runner: blocking.Sandbox) -> None:
    script = """
id -u; grep -E '^(NoNewPrivs|CapEff|Seccomp):' /proc/self/status | tr -s '\\t' ' '
grep processes /proc/self/limits | tr -s ' '
cat /run/sandbox/control/token /var/run/secrets/kubernetes.io/serviceaccount/token /data/.agent/* 2>&1 | grep -c 'No such file'
touch /usr/local/x 2>&1 | grep -c 'Read-only'
cat /proc/1/cmdline | tr '\\0' ' '
"""
    *shown, first = runner.exec("sh", "-c", script).stdout.decode().splitlines()
    assert first.startswith("/opt/sandbox/launcher serve --agent-port=7071 --processes=1024 --open-files=16384 --scratch=/tmp ")
    assert shown == [
        "1000",
        "CapEff: 0000000000000000",
        "NoNewPrivs: 1",
        "Seccomp: 2",
        "Max processes 1024 1024 processes ",
        "3",
        "1",
    ]


@pytest.mark.skipif(GVISOR, reason="gVisor does not keep RLIMIT_NPROC")
def test_a_fork_bomb_is_stopped_by_the_limit(runner: blocking.Sandbox) -> None:
    """The program counts how many children it may have, and ends them."""
    assert int(runner.exec("python3", "-c", BOMB).stdout) < 1024


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ([("container", "agent")], 400, "container"),
        ([("container", "app"), ("container", "agent")], 400, "container"),
        ([("name", "other")], 400, "name"),
        ([("tty", "true"), ("stderr", "true")], 400, "stderr"),
    ],
)
async def test_a_query_cannot_choose_what_is_entered(
    editor: Connection, runner: blocking.Sandbox, query: list[tuple[str, str]], code: int, field: str
) -> None:
    code_got, body = await refused(editor, runner, [("command", "id"), ("stdout", "true"), *query])
    assert (code_got, body["details"]["causes"][0]["field"]) == (code, field)


async def test_a_request_without_upgrade_is_told_what_to_send(editor: Connection, runner: blocking.Sandbox) -> None:
    for method in ("GET", "POST"):
        code, body = await refused(editor, runner, [("command", "id"), ("stdout", "true")], method)
        assert (code, "WebSocket" in body["message"]) == (400, True), body


async def refused(
    connection: Connection, sandbox: blocking.Sandbox, query: list[tuple[str, str]], method: str = "GET"
) -> tuple[int, dict[str, dict[str, list[dict[str, str]]]]]:
    async with Api(connection) as api:
        answer = await api.exchange(Request(method, exec_path(sandbox), query))
        try:
            return answer.status, await answer.json()
        finally:
            answer.release()


@pytest.mark.parametrize(
    "rights",
    ["view", [verb_rule("exec", "get")], [verb_rule("exec", "create")], [verb_rule("log", "get", "create")], []],
    ids=["view", "only get", "only create", "another verb", "none"],
)
def test_only_who_may_create_and_get_exec_enters(
    user: UserFactory, runner: blocking.Sandbox, rights: str | list[dict[str, list[str]]]
) -> None:
    """The API server judges the GET of a WebSocket by "get"; that it runs a program is asked by us: "create"."""
    with blocking.Client(user(rights)) as client, pytest.raises(Forbidden):
        client.sandbox(runner.name).exec("true")


def test_a_pod_that_only_looks_like_the_runner_s_is_not_entered(cluster: Cluster, runner: blocking.Sandbox) -> None:
    """Not even one that a controller of Kubernetes made in its namespace, with its label, and younger; nobody else could."""
    namespace = cluster.refs(runner).namespace
    genuine = cluster.get("pod", cluster.pod(runner), "--namespace", namespace)
    spec = {key: genuine["spec"][key] for key in ("securityContext", "containers")}
    app = {key: value for key, value in spec["containers"][0].items() if key in {"name", "image", "securityContext", "resources"}}
    spec["containers"] = [{**app, "command": ["sleep", "600"]}]
    labels = {names.LABEL_RUNNER_UID: cluster.refs(runner).uid}
    forged = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "forged", "namespace": namespace, "labels": labels},
        "spec": spec,
    }
    maker = "--as=system:serviceaccount:kube-system:replicaset-controller"
    cluster.kubectl("create", "-f", "-", maker, stdin=json.dumps(forged))
    try:
        cluster.kubectl(
            "wait", "pod/forged", f"--namespace={namespace}", "--for=jsonpath={.status.phase}=Running", "--timeout=60s"
        )
        assert runner.exec("cat", "/etc/hostname").stdout.decode().strip() == genuine["metadata"]["name"]
    finally:
        cluster.kubectl("delete", "pod", "forged", f"--namespace={namespace}", "--grace-period=0", "--force")


# how it ends


def test_suspended_gone_and_missing_runners_say_so(make_runner: RunnerFactory, client: blocking.Client) -> None:
    sandbox = make_runner("asleep")
    sandbox.suspend()
    with pytest.raises(ApiError, match="is suspended") as error:
        sandbox.exec("true")
    assert error.value.code == 409
    sandbox.delete()
    with pytest.raises(NotFound):
        sandbox.exec("true")
    with pytest.raises(NotFound):
        client.sandbox("never-was").exec("true")


def test_a_runner_that_is_not_ready_says_what_it_waits_for(client: blocking.Client) -> None:
    sandbox = client.apply("pulling", {"image": "localhost/sandbox-runner:no-such-tag"})
    try:
        with pytest.raises((Unavailable, ApiError)) as error:
            sandbox.exec("true")
        assert error.value.code == 503
        assert error.value.message
    finally:
        sandbox.delete()


async def test_a_withdrawn_right_ends_the_session_with_its_reason(
    cluster: Cluster, namespace: str, user: UserFactory, runner: blocking.Sandbox
) -> None:
    connection = user([verb_rule("exec", "get", "create")])
    async with Client(connection) as client, client.sandbox(runner.name).exec_session("sleep", "300") as session:
        ending = asyncio.create_task(anext(session.output(), None))
        await asyncio.sleep(1)
        account = next(
            binding["metadata"]["name"]
            for binding in cluster.get("rolebindings", "--namespace", namespace)["items"]
            if connection.token and binding["subjects"][0]["name"] == _subject(connection.token)
        )
        cluster.kubectl("delete", "rolebinding", account, "--namespace", namespace)
        began = time.monotonic()
        async with asyncio.timeout(60):
            with pytest.raises(Forbidden, match="cannot create resource"):
                await ending
        assert time.monotonic() - began < 45


async def test_suspending_ends_the_session(make_runner: RunnerFactory, editor: Connection) -> None:
    sandbox = make_runner("leaver")
    async with Client(editor) as client, client.sandbox("leaver").exec_session("sleep", "300") as session:
        ending = asyncio.create_task(anext(session.output(), None))
        await asyncio.sleep(1)
        await asyncio.to_thread(sandbox.suspend)
        # which comes first: that we see the runner suspended, within a second, or that its container is killed with all in it
        async with asyncio.timeout(30):
            (ended,) = await asyncio.gather(ending, return_exceptions=True)
        assert ended.code == 409 if isinstance(ended, ApiError) else (ended, session.exit_code) == (None, 137)
    await asyncio.to_thread(sandbox.delete)


def _subject(token: str) -> str:
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return str(claims["sub"]).rpartition(":")[2]
