"""Installs the bare aggregated no-op in the cluster, and removes it."""

from __future__ import annotations

import base64
import datetime
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sandbox_protocol import names
from tests.bench.noop_server import GROUP_VERSION
from tests.bench.stage import Stage

GROUP, VERSION = GROUP_VERSION.split("/")
API_SERVICE = f"{VERSION}.{GROUP}"


def path(namespace: str) -> str:
    return f"/apis/{GROUP_VERSION}/namespaces/{namespace}/noops"


@contextmanager
def installed(stage: Stage) -> Iterator[None]:
    """The APIService goes first when it is removed: a broken one would block the deletion of every namespace."""
    apiserver = stage.cluster.get("deployment", "sandbox-apiserver", "--namespace", names.SYSTEM_NAMESPACE)
    image = apiserver["spec"]["template"]["spec"]["containers"][0]["image"]
    certificate, key = _pair(f"noop.{stage.namespace}.svc")
    stage.cluster.apply(*_objects(stage, image, certificate, key))
    try:
        stage.cluster.kubectl("rollout", "status", "deployment/noop", "--namespace", stage.namespace, "--timeout=60s")
        stage.cluster.kubectl("wait", "--for=condition=Available", f"apiservice/{API_SERVICE}", "--timeout=60s")
        time.sleep(1)  # the handler of a new APIService is swapped in after its condition is written
        yield
    finally:
        stage.cluster.kubectl("delete", "apiservice", API_SERVICE)


def _pair(host: str) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=6))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def _objects(stage: Stage, image: str, certificate: str, key: str) -> list[Mapping[str, Any]]:
    labels = {"app": "noop"}
    metadata = {"name": "noop", "namespace": stage.namespace}
    container = {
        "name": "noop",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        # like this the image's working directory, where the operator's libraries are, is on the path
        "command": ["python3", "-c", "import runpy; runpy.run_path('/code/noop_server.py', run_name='__main__')"],
        "ports": [{"containerPort": 8443}],
        "readinessProbe": {"httpGet": {"scheme": "HTTPS", "path": "/healthz", "port": 8443}, "periodSeconds": 1},
        "volumeMounts": [{"name": "code", "mountPath": "/code"}, {"name": "tls", "mountPath": "/tls"}],
    }
    volumes = [{"name": "code", "configMap": {"name": "noop"}}, {"name": "tls", "secret": {"secretName": "noop"}}]
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"noop_server.py": Path(__file__).with_name("noop_server.py").read_text()},
        },
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"tls.crt": certificate, "tls.key": key}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], "volumes": volumes}},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"port": 443, "targetPort": 8443}]},
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [{"apiGroups": [GROUP], "resources": ["noops"], "verbs": ["create"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "noop"},
            "subjects": [{"kind": "ServiceAccount", "name": "bench", "namespace": stage.namespace}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": API_SERVICE},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 10,
                "caBundle": base64.b64encode(certificate.encode()).decode(),
                "service": {"name": "noop", "namespace": stage.namespace, "port": 443},
            },
        },
    ]
