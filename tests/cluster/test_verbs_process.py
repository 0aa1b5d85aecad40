"""The app's process and what it writes, through the Kubernetes API."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from sandbox_client import Forbidden, NeverReady, NotFound, blocking
from tests.harness.cluster import Cluster, verb_rule
from tests.harness.fixtures import RunnerFactory, UserFactory

COUNTER = """
import http.server, os, sys, threading, time

def count():
    for number in range(1, 10**6):
        print(f"line {number}", flush=True)
        print(f"error {number}", file=sys.stderr, flush=True)
        time.sleep(0.05)

threading.Thread(target=count, daemon=True).start()
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Quiet).serve_forever()
"""

MIRROR = """
import http.server, json, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps([self.path, dict(self.headers)]).encode()
        self.send_response(207)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def counter(make_runner: RunnerFactory) -> blocking.Sandbox:
    """Writes a numbered line to each stream, 20 times a second, from its start on."""
    sandbox = make_runner("counter", {"command": ["python3", "-u", "count.py"]})
    sandbox.sync({"count.py": COUNTER})
    sandbox.wait_app()
    assert "line 20" in sandbox.logs(follow=True, stream="stdout")
    return sandbox


def test_a_user_who_may_only_read_logs_reads_logs_and_nothing_else(
    user: UserFactory, namespace: str, counter: blocking.Sandbox
) -> None:
    with blocking.Client(user([verb_rule("log", "get")])) as reader:
        handle = reader.sandbox(counter.name)
        assert "line 1" in list(handle.logs(stream="stdout"))
        for refused in (
            lambda: handle.sync({"x": "y"}),
            handle.manifest,
            handle.status,
            handle.restart,
            handle.preview,
            handle.revoke_previews,
            handle.proxy,
            handle.refresh,
        ):
            with pytest.raises(Forbidden):
                refused()


def test_a_viewer_reads_and_does_not_change(user: UserFactory, counter: blocking.Sandbox) -> None:
    with blocking.Client(user("view")) as viewer:
        handle = viewer.get(counter.name)
        assert handle.status().process.state == "Running"
        assert handle.manifest().entries
        for refused in (lambda: handle.sync({"x": "y"}), handle.restart, handle.preview, handle.suspend):
            with pytest.raises(Forbidden):
                refused()


def test_a_right_to_one_runner_does_not_reach_another(
    user: UserFactory, make_runner: RunnerFactory, counter: blocking.Sandbox
) -> None:
    make_runner("neighbour")
    rule = {**verb_rule("log", "get"), "resourceNames": [counter.name]}
    with blocking.Client(user([rule])) as reader:
        assert list(reader.sandbox(counter.name).logs(tail_lines=1))
        with pytest.raises(Forbidden):
            list(reader.sandbox("neighbour").logs(tail_lines=1))


def test_the_tail_is_the_last_lines_of_the_stream_asked_for(counter: blocking.Sandbox) -> None:
    lines = list(counter.logs(tail_lines=5, stream="stdout"))
    numbers = [int(line.removeprefix("line ")) for line in lines]
    assert numbers == list(range(numbers[0], numbers[0] + 5))
    assert all(line.startswith("error ") for line in counter.logs(tail_lines=5, stream="stderr"))


def test_following_brings_lines_as_they_are_written_and_none_is_lost(counter: blocking.Sandbox) -> None:
    lines: Iterator[str] = counter.logs(follow=True, tail_lines=1, stream="stdout")
    numbers = [int(line.removeprefix("line ")) for line in itertools.islice(lines, 40)]
    assert numbers == list(range(numbers[0], numbers[0] + 40))


def test_timestamps_stand_before_each_line(counter: blocking.Sandbox) -> None:
    (line,) = counter.logs(tail_lines=1, stream="stdout", timestamps=True)
    time, _, text = line.partition(" ")
    assert time.endswith("Z")
    assert text.startswith("line ")


def test_the_log_of_the_process_before_outlives_a_restart(counter: blocking.Sandbox) -> None:
    before = counter.status().process
    counter.restart(grace_period_seconds=1)
    after = counter.wait_app().process
    assert after.pid != before.pid
    assert "line 1" in list(counter.logs(stream="stdout"))
    assert [line for line in counter.logs(previous=True, stream="stdout") if line.startswith("line ")]


@pytest.mark.parametrize(
    ("files", "restart", "restarts"),
    [
        ({"style.css": "a"}, "auto", False),
        ({"requirements-note.txt": "a"}, "auto", False),
        ({"package.json": "{}"}, "auto", True),
        ({"style.css": "b"}, "always", True),
        ({"package.json": '{"private": true}'}, "never", False),
    ],
)
def test_a_sync_restarts_the_app_when_it_has_to(
    runner: blocking.Sandbox, files: dict[str, str], restart: str, restarts: bool
) -> None:
    runner.sync({"index.html": "hi"})
    before = runner.wait_app().process.pid
    result = runner.sync(files, restart=restart)  # type: ignore[arg-type]
    assert result.restarted is restarts
    assert (runner.wait_app().process.pid != before) is restarts
    runner.sync({}, delete=["package.json"], restart="never")


def test_auto_brings_a_dead_app_back(make_runner: RunnerFactory) -> None:
    sandbox = make_runner("mortal", {"command": ["sh", "-c", "test -f fixed && exec python3 -m http.server $PORT; exit 3"]})
    sandbox.sync({"broken": "yes"})
    with pytest.raises(NeverReady, match="3"):
        sandbox.wait_app(timeout=60)
    assert sandbox.sync({"fixed": "yes"}).restarted
    sandbox.wait_app(timeout=60)


def test_the_status_shows_the_port_and_the_command(runner: blocking.Sandbox) -> None:
    runner.sync({"index.html": "hi"})
    status = runner.wait_app()
    assert 3000 in {port for _, port in status.listening}
    assert status.process.command[0] == "sh"
    assert status.revision == runner.manifest().revision


def test_the_proxy_reaches_the_app_and_the_control_token_does_not(cluster: Cluster, make_runner: RunnerFactory) -> None:
    sandbox = make_runner("mirror", {"command": ["python3", "-u", "mirror.py"]})
    sandbox.sync({"mirror.py": MIRROR})
    sandbox.wait_app()
    answer = sandbox.proxy("GET", "/a/b%20c", query=[("q", "1")])
    assert answer.status == 207
    text = answer.body.decode()
    assert "?q=1" in text
    token = cluster.exec(sandbox, "cat", "/run/sandbox/control/token", container="agent").strip()
    assert token
    assert token not in text
    assert "authorization" not in text.lower()
    assert "x-remote-" not in text.lower()


def test_verbs_of_a_runner_that_does_not_exist_are_not_found(client: blocking.Client) -> None:
    handle = client.sandbox("nobody")
    for call in (lambda: handle.sync({"x": "y"}), handle.status, handle.restart, handle.preview):
        with pytest.raises(NotFound, match="nobody"):
            call()
