"""Requests that go around the API server, straight to our Service, and name an administrator in the front proxy's headers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from devcluster.namespaces import in_node_argv
from sandbox_protocol import names
from tests.harness.cluster import Cluster

FORGED = {"X-Remote-User": "system:admin", "X-Remote-Group": "system:masters", "X-Remote-Uid": "1"}

_AROUND = """
import http.client, json, ssl, sys
asked = json.load(sys.stdin)
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
if asked["certificate"]:
    context.load_cert_chain(*asked["certificate"])
found = []
for method, path in asked["requests"]:
    connection = http.client.HTTPSConnection(asked["host"], 443, context=context, timeout=10)
    try:
        connection.request(method, path, headers=asked["headers"])
        found.append(str(connection.getresponse().status))
    except OSError as error:
        found.append(f"no TLS: {error}")
    finally:
        connection.close()
print(json.dumps(found))
"""


def around(cluster: Cluster, who: str, requests: Sequence[tuple[str, str]], folder: Path) -> list[str]:
    """Codes of ``requests`` (method and path), or "no TLS: …", on the node's network, as whoever has broken into something else
    would send them. ``who`` is of `rbac.OUTSIDERS`; a certificate is written to ``folder``."""
    host = cluster.get("service", "sandbox-apiserver", "--namespace", names.SYSTEM_NAMESPACE)["spec"]["clusterIP"]
    asked = {"host": host, "requests": requests, "headers": FORGED, "certificate": _certificate(who, cluster, folder)}
    argv = in_node_argv([sys.executable, "-c", _AROUND])
    done = subprocess.run(argv, input=json.dumps(asked), capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


def _certificate(who: str, cluster: Cluster, folder: Path) -> list[str] | None:
    """Files of a certificate and its key. The administrator's own is signed by the CA that also signs the front proxy's."""
    if "CA" in who:
        pair = (cluster.admin.client_cert or "", cluster.admin.client_key or "")
        files = [folder / "tls.crt", folder / "tls.key"]
        for file, content in zip(files, pair, strict=True):
            file.write_text(content)
        return [str(file) for file in files]
    if "stranger" not in who:
        return None
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    key, made = str(folder / "tls.key"), str(folder / "tls.crt")
    subprocess.run([*words, "-subj", "/CN=front-proxy", "-keyout", key, "-out", made], check=True, capture_output=True)
    return [made, key]
