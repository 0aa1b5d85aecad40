"""What our OpenAPI document says, held against the real server: schemathesis makes requests from it and checks every answer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sandbox_client import blocking
from sandbox_client.kubeconfig import Connection
from sandbox_protocol import names
from tests.harness.cluster import Cluster
from tests.harness.fixtures import RunnerFactory, UserFactory

ADDRESS = f"/openapi/v3/apis/{names.SUBRESOURCE_GROUP}/{names.VERSION}"
PUBLISHED_SECONDS = 150
# Answers every method, so that a 5xx from behind `proxy` is ours.
ECHO = """
import http.server, os
class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Echo).serve_forever()
"""
# What follows or watches has no end to wait for.
HOOKS = """
import schemathesis

@schemathesis.hook
def before_call(context, case, kwargs):
    for name in ("follow", "watch"):
        if name in (case.query or {}) and str(case.query[name]).lower() in ("true", "1", ""):
            del case.query[name]
"""
CONFIGURATION = """
seed = 1
hooks = "endless"
base-url = "{server}"
tls-verify = "{ca}"
request-timeout = 30
continue-on-failure = true
warnings = false
headers = {{ Authorization = "Bearer {token}" }}

[parameters]
"path.namespace" = "{namespace}"
"path.name" = "{name}"

[checks]
enabled = false
not_a_server_error = {{ enabled = true, expected-statuses = ["2xx", "3xx", "4xx", 503, 507] }}
status_code_conformance.enabled = true
content_type_conformance.enabled = true
response_headers_conformance.enabled = true
response_schema_conformance.enabled = true
negative_data_rejection = {{ enabled = true, expected-statuses = ["4xx", 503] }}

[phases]
stateful.enabled = false

[generation]
deterministic = true
max-examples = 12
# the API server refuses headers and paths with zeros before us, in words of its own
allow-x00 = false

[[operations]]
include-path-regex = "/proxy"
checks.negative_data_rejection.enabled = false
"""


@pytest.fixture(scope="module")
def document(cluster: Cluster) -> Any:
    # Kubernetes asks an aggregated server for its document anew about once a minute, and lists none while that server was away
    deadline = time.monotonic() + PUBLISHED_SECONDS
    while (entry := _published(cluster)) is None:
        assert time.monotonic() < deadline, f"{ADDRESS} is not listed after {PUBLISHED_SECONDS} s"
        time.sleep(1)
    return json.loads(cluster.kubectl("get", "--raw", entry["serverRelativeURL"]))


def _published(cluster: Cluster) -> Any:
    return json.loads(cluster.kubectl("get", "--raw", "/openapi/v3"))["paths"].get(ADDRESS.removeprefix("/openapi/v3/"))


def test_the_api_server_gives_out_our_document_with_every_discovered_verb(cluster: Cluster, document: Any) -> None:
    prefix = f"/apis/{names.SUBRESOURCE_GROUP}/{names.VERSION}"
    resources = json.loads(cluster.kubectl("get", "--raw", prefix))["resources"]
    verbs = {resource["name"].partition("/")[2] for resource in resources} - {""}
    paths = {re.sub(r".*/sandboxrunners/\{name\}/([a-z]+).*", r"\1", path) for path in document["paths"]}
    assert paths == verbs


def test_every_answer_to_made_up_requests_is_one_that_the_document_has(
    document: Any, user: UserFactory, make_runner: RunnerFactory, tmp_path: Path
) -> None:
    sandbox = make_runner("made-up", {"command": ["python3", "-c", ECHO]})
    sandbox.sync({"started.txt": "x"})
    sandbox.wait_app()
    result = schemathesis(document, user("edit"), sandbox, tmp_path)
    assert result.returncode == 0, result.stdout[-20_000:] + result.stderr[-2000:]
    # `exec` among them, in its plain form: none of these requests asks for an upgrade
    operations = sum(method != "parameters" for item in document["paths"].values() for method in item)
    assert f"Tested: {operations}\n" in result.stdout, result.stdout[-2000:]
    assert sandbox.refresh()["metadata"]["name"] == sandbox.name


def schemathesis(
    document: Any, connection: Connection, sandbox: blocking.Sandbox, folder: Path
) -> subprocess.CompletedProcess[str]:
    assert connection.ca_data is not None
    ca, schema, configuration = folder / "ca.crt", folder / "openapi.json", folder / "schemathesis.toml"
    (folder / "endless.py").write_text(HOOKS)
    ca.write_text(connection.ca_data)
    schema.write_text(json.dumps(document))
    configuration.write_text(
        CONFIGURATION.format(
            server=connection.server, ca=ca, token=connection.token, namespace=sandbox.namespace, name=sandbox.name
        )
    )
    command = [str(Path(sys.executable).with_name("st")), "--config-file", str(configuration), "run", str(schema)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
