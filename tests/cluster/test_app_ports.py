"""Where an app really listens, and what everybody says of it when it fails, through the Kubernetes API."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from sandbox_client import NeverReady, blocking
from tests.harness.cluster import Cluster
from tests.harness.fixtures import RunnerFactory

AGREE_SECONDS = 10.0
SERVE = """
import http.server, os, socket, ssl, sys
address, port, *tls = sys.argv[1:]
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"<h1>{address} {self.headers['Host']}</h1>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = Server((address, int(port)), Handler)
if tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("tls.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
STOPS = """
import http.server, os, threading, time
server = http.server.HTTPServer(("0.0.0.0", int(os.environ["PORT"])), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
while not os.path.exists("broken.js"):
    time.sleep(0.05)
server.shutdown()
server.server_close()
print("SyntaxError: in broken.js", flush=True)
time.sleep(600)
"""


def until(true: Callable[[], object], seconds: float = AGREE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(0.2)


def app(sandbox: blocking.Sandbox) -> tuple[str, str]:
    """(reason, message) of AppReady in the SandboxRunner."""
    conditions = sandbox.refresh()["status"]["conditions"]
    return next((one["reason"], one["message"]) for one in conditions if one["type"] == "AppReady")


def events(cluster: Cluster, sandbox: blocking.Sandbox, reason: str) -> list[str]:
    listed = json.loads(cluster.kubectl("get", "events.events.k8s.io", "-n", sandbox.namespace, "-o", "json"))
    return [one["note"] for one in listed["items"] if one["regarding"]["name"] == sandbox.name and one["reason"] == reason]


@pytest.mark.parametrize(("name", "address"), [("own-v4", "127.0.0.1"), ("own-v6", "::1"), ("own-any", "::")])
def test_an_app_on_a_port_of_its_own_is_served_from_there_and_everybody_says_so(
    make_runner: RunnerFactory, name: str, address: str
) -> None:
    sandbox = make_runner(name, {"command": ["python3", "-u", "serve.py", address, "4321"]})
    sandbox.sync({"serve.py": SERVE})
    status = sandbox.wait_app()
    assert (status.process.port, status.process.listening) == (3000, 4321)
    assert sandbox.proxy("GET", "/").body.decode() == f"<h1>{address} localhost:4321</h1>"
    until(lambda: app(sandbox) == ("Ready", "listens on port 4321, not on PORT (3000), and is served from there"))


def test_an_app_that_answers_over_tls_only_is_served(make_runner: RunnerFactory) -> None:
    sandbox = make_runner("own-tls", {"command": ["sh", "-c", "exec python3 -u serve.py 127.0.0.1 $PORT tls"]})
    sandbox.sync({"serve.py": SERVE, "tls.pem": self_signed()})
    sandbox.wait_app()
    assert sandbox.proxy("GET", "/").body.decode() == "<h1>127.0.0.1 localhost:3000</h1>"


def self_signed() -> bytes:
    """Key and certificate in one file, as tools make them for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_an_app_that_loses_its_port_after_a_sync_is_told_and_comes_back(cluster: Cluster, make_runner: RunnerFactory) -> None:
    sandbox = make_runner("stops", {"command": ["sh", "-c", "exec python3 -u stops.py"]})
    sandbox.sync({"stops.py": STOPS})
    sandbox.wait_app()
    sandbox.sync({"broken.js": "x"}, restart="never")
    until(lambda: not sandbox.status().process.ready)
    with pytest.raises(NeverReady, match="stopped answering on port 3000 after the last sync"):
        sandbox.wait_app()
    until(lambda: app(sandbox)[0] == "StoppedAnswering")
    assert "StoppedAnswering" in cluster.kubectl("get", "sbx", sandbox.name, "-n", sandbox.namespace)
    until(lambda: len(events(cluster, sandbox, "StoppedAnswering")) == 1)
    sandbox.sync({}, delete=["broken.js"], restart="always")
    sandbox.wait_app()
    until(lambda: app(sandbox)[0] == "Ready")


def test_one_crash_is_a_restart_and_several_are_a_loop_for_everybody(cluster: Cluster, make_runner: RunnerFactory) -> None:
    sandbox = make_runner("crashes", {"command": ["sh", "-c", "echo no such module >&2; exit 7"]})
    sandbox.sync({"a": "b"})
    with pytest.raises(NeverReady, match="CrashLoop: the app ended with exit code 7"):
        sandbox.wait_app()
    until(lambda: app(sandbox)[0] == "CrashLoop")
    until(lambda: len(events(cluster, sandbox, "CrashLoop")) == 1)


def test_an_app_that_ends_well_is_told_to_keep_running(make_runner: RunnerFactory) -> None:
    sandbox = make_runner("ends", {"command": ["true"]})
    sandbox.sync({"a": "b"})
    with pytest.raises(NeverReady, match="Exited: the app ended with exit code 0: a web app must keep running"):
        sandbox.wait_app()


def test_a_wrong_port_that_cannot_be_served_says_what_to_set(make_runner: RunnerFactory) -> None:
    greets = "import socket\ns = socket.create_server(('127.0.0.1', 5432))\nwhile True: s.accept()[0].send(b'220 hello\\r\\n')"
    sandbox = make_runner("greets", {"command": ["python3", "-c", greets]})
    sandbox.sync({"a": "b"})
    with pytest.raises(
        NeverReady, match=r"WrongPort: listens on 127\.0\.0\.1:5432, not on PORT \(3000\), and does not answer in HTTP"
    ):
        sandbox.wait_app()


FETCH = """
import sys, urllib.request
request = urllib.request.Request("http://127.0.0.1:7080/", headers={"X-Sandbox-Port": sys.argv[1]})
print(urllib.request.urlopen(request).read().decode())
"""


def test_a_port_that_nobody_declared_is_found_where_it_is(cluster: Cluster, make_runner: RunnerFactory) -> None:
    both = "python3 -u serve.py ::1 4000 & exec python3 -u serve.py 127.0.0.1 3000"
    sandbox = make_runner("second", {"command": ["sh", "-c", both]})
    sandbox.sync({"serve.py": SERVE})
    sandbox.wait_app()
    until(lambda: {("::1", 4000), ("127.0.0.1", 3000)} <= set(sandbox.status().listening))
    assert cluster.exec(sandbox, "python3", "-c", FETCH, "4000").strip() == "<h1>::1 localhost:4000</h1>"
