"""The log verb through the Kubernetes API: what is kept, for how long, and that a cursor neither loses nor repeats a line."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from sandbox_client import ApiError, LogRecord, SandboxError, blocking
from sandbox_client.api import Request
from tests.harness.cluster import Cluster
from tests.harness.fixtures import RunnerFactory
from tests.harness.killing import agent_killer
from tests.harness.requests import send

COUNTER = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done"


def run(sandbox: blocking.Sandbox, script: str) -> None:
    """The runner's command is ``sh run.sh``; a sync starts it anew."""
    sandbox.sync({"run.sh": f"{script}\n"}, restart="always")


def wait_for(
    sandbox: blocking.Sandbox, found: Callable[[list[LogRecord]], bool], seconds: float = 60, tail_lines: int | None = None
) -> list[LogRecord]:
    deadline = time.monotonic() + seconds
    while True:
        records, failure = [], None
        try:
            records = list(sandbox.log_records(process="web", tail_lines=tail_lines))
        except SandboxError as error:
            failure = error
        if found(records):
            return records
        assert time.monotonic() < deadline, failure or [record.text for record in records[-20:]]
        time.sleep(0.2)


def says(text: str) -> Callable[[list[LogRecord]], bool]:
    return lambda records: any(record.text == text for record in records)


@pytest.fixture(scope="module")
def shell(make_runner: RunnerFactory) -> blocking.Sandbox:
    """A runner whose app is the script run.sh of its workspace."""
    return make_runner("shell", {"command": ["sh", "run.sh"]})


class Follower:
    """Follows in a thread of its own; ``numbers`` are those of ``line N``, as they came."""

    def __init__(self, sandbox: blocking.Sandbox) -> None:
        self.records: list[LogRecord] = []
        self._ending = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._result = self._pool.submit(self._follow, sandbox)

    def _follow(self, sandbox: blocking.Sandbox) -> None:
        for record in sandbox.log_records(follow=True):
            self.records.append(record)
            if self._ending.is_set():
                return

    def numbers(self) -> list[int]:
        return [int(record.text.split()[1]) for record in self.records if record.text.startswith("line ")]

    def until(self, found: Callable[[], bool], seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while not found():
            if self._result.done():
                self._result.result()
            assert time.monotonic() < deadline, [record.text for record in self.records[-20:]]
            time.sleep(0.05)

    def end(self) -> None:
        """After one more line."""
        self._ending.set()
        self._result.result(timeout=30)
        self._pool.shutdown()


def test_every_parameter_of_the_query(shell: blocking.Sandbox) -> None:
    run(shell, "echo out; echo err >&2; sleep 1; printf '\\377bin\\n'; echo done; sleep 600")
    records = wait_for(shell, says("done"))
    assert [(record.stream, record.text) for record in records[-5:] if record.stream != "system"][-4:] == [
        ("stdout", "out"),
        ("stderr", "err"),
        ("stdout", "\ufffdbin"),
        ("stdout", "done"),
    ]
    assert list(shell.logs(tail_lines=2)) == ["\ufffdbin", "done"]
    assert list(shell.logs(stream="stderr", tail_lines=1)) == ["err"]
    assert list(shell.logs(process="install")) == []
    assert list(shell.logs(limit_bytes=3, tail_lines=1)) == ["don"]
    late = next(record for record in records if record.text == "\ufffdbin")
    assert list(shell.logs(since_time=late.time, stream="stdout"))[-2:] == ["\ufffdbin", "done"]
    assert [record.text for record in shell.log_records(cursor=late.cursor, process="web")] == ["done"]
    assert next(iter(shell.logs(tail_lines=1, timestamps=True))).endswith("Z done")
    run(shell, "echo second run; sleep 600")
    wait_for(shell, says("second run"))
    assert "out" in list(shell.logs(previous=True, process="web"))
    assert "second run" not in list(shell.logs(previous=True))


def test_bad_queries_and_unknown_cursors_are_explained(shell: blocking.Sandbox) -> None:
    for query, code in (({"tail_lines": -1}, 400), ({"cursor": "nonsense"}, 400), ({"cursor": "00000000.1.1"}, 410)):
        with pytest.raises(ApiError) as caught:
            list(shell.log_records(**query))
        assert caught.value.code == code
    assert "the oldest that is kept comes after" in str(caught.value)


def test_a_long_line_and_a_flood_of_garbage_come_through(shell: blocking.Sandbox) -> None:
    run(shell, "head -c 10000000 /dev/zero | tr '\\0' x; echo; head -c 300000 /dev/urandom; echo; echo after; sleep 600")
    wait_for(shell, says("after"))
    assert max(len(line) for line in _joined(shell)) == 10_000_000
    assert shell.status().process.state in ("Running", "Starting")


def _joined(shell: blocking.Sandbox) -> list[str]:
    lines, rest = [], ""
    for record in shell.log_records(process="web", stream="stdout"):
        rest += record.text
        if not record.partial:
            lines.append(rest)
            rest = ""
    return lines


def test_a_follower_goes_on_without_loss_when_its_pod_is_replaced(cluster: Cluster, shell: blocking.Sandbox) -> None:
    run(shell, COUNTER)
    follower = Follower(shell)
    follower.until(lambda: len(follower.numbers()) > 50)
    before = cluster.pod(shell)
    cluster.kubectl("delete", "pod", before, "--namespace", cluster.refs(shell).namespace, "--wait=false")
    follower.until(lambda: follower.numbers().count(1) >= 2 and follower.numbers()[-1] > 20)
    follower.end()
    numbers = follower.numbers()
    restart = len(numbers) - numbers[::-1].index(1) - 1
    first = numbers[:restart][numbers.index(1) :]
    assert first == list(range(1, len(first) + 1))
    assert numbers[restart:] == list(range(1, len(numbers) - restart + 1))
    cursors = [record.cursor for record in follower.records]
    assert len(set(cursors)) == len(cursors)
    assert not set(cursors) - {record.cursor for record in shell.log_records()}


def test_a_killed_agent_repeats_nothing_and_its_followers_go_on(cluster: Cluster, shell: blocking.Sandbox) -> None:
    kill = agent_killer(cluster, shell)
    run(shell, COUNTER)
    start = len(list(shell.log_records()))
    follower = Follower(shell)
    follower.until(lambda: len(follower.records) > start + 50)
    kill()
    follower.until(lambda: any("without notice" in record.text for record in follower.records[start:]))
    told = next(at for at, record in enumerate(follower.records) if at >= start and "without notice" in record.text)
    follower.until(lambda: len(follower.records) > told + 50)
    follower.end()
    cursors = [record.cursor for record in follower.records]
    assert len(set(cursors)) == len(cursors)
    numbers = [
        int(record.text.split()[1])
        for record in follower.records[follower.records.index(next(r for r in follower.records[::-1] if r.text == "line 1")) :]
        if record.text.startswith("line ")
    ]
    assert numbers == sorted(set(numbers)), "a line came twice or out of order"
    assert numbers[-1] - len(numbers) <= 2, "more was lost than what was on its way in the instant of the kill"


def test_a_quiet_follower_outlives_the_sixty_seconds_of_the_api_server(shell: blocking.Sandbox) -> None:
    run(shell, "echo begin; sleep 65; echo still here; sleep 600")
    wait_for(shell, says("begin"))
    lines = shell.logs(follow=True, tail_lines=1, process="web")  # one connection: this one does not reconnect
    assert next(iter(lines)) in {"begin", "$ sh run.sh"}
    assert "still here" in next(line for line in lines if "begin" not in line)


def test_a_reader_that_does_not_read_holds_nothing_up(cluster: Cluster, shell: blocking.Sandbox) -> None:
    run(shell, "yes 0123456789012345678901234567890123456789 | head -n 3000000; echo flood over; sleep 600")
    stuck = shell.log_records(follow=True)
    next(iter(stuck))
    wait_for(shell, says("flood over"), 90, tail_lines=3)
    records = list(shell.log_records(process="web", tail_lines=1))
    assert records[-1].text == "flood over"
    rss = int(cluster.exec(shell, "sh", "-c", "grep VmRSS /proc/1/status | tr -dc 0-9", container="agent"))
    assert rss < 80 * 1024, f"the agent has {rss} KiB"
    used = int(cluster.exec(shell, "sh", "-c", "du -sk /data/.agent/log | cut -f1", container="agent"))
    assert used <= 33 * 1024
    stuck.close()


def test_the_raw_answer_is_ndjson_only_when_asked_for(cluster: Cluster, shell: blocking.Sandbox) -> None:
    verb = f"/apis/subresources.infrastructure.appstudio.dev/v1alpha1/namespaces/{shell.namespace}/sandboxrunners/{shell.name}"
    query = [("tailLines", "1")]
    one = send(cluster.admin, Request("GET", f"{verb}/log", query, {"Accept": "application/x-ndjson, application/json"}))
    assert set(one) >= {"cursor", "time", "process", "stream", "text"}
