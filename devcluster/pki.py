"""One certificate authority, one certificate per component, kubeconfigs. ECDSA, but RSA for service-account tokens."""

import base64
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from devcluster.settings import (
    API_PORT,
    API_SERVICE_ADDRESS,
    CONTEXT,
    MACHINE_LINK_ADDRESS,
    NODE,
    NODE_ADDRESS,
    State,
)

DAYS = "3650"

_API_NAMES = ",".join(
    [
        *(f"DNS:{name}" for name in ("kubernetes", "kubernetes.default", "kubernetes.default.svc")),
        "DNS:kubernetes.default.svc.cluster.local",
        "DNS:localhost",
        *(f"IP:{address}" for address in ("127.0.0.1", API_SERVICE_ADDRESS, NODE_ADDRESS, MACHINE_LINK_ADDRESS)),
    ]
)


@dataclass(frozen=True)
class Certificate:
    """File name, subject and key usages; the subject is the user (CN) and group (O) the API server sees."""

    name: str
    subject: str
    usage: str = "clientAuth"
    addresses: str = ""


CERTIFICATES = (
    Certificate("admin", "/O=system:masters/CN=admin"),
    Certificate("controller-manager", "/CN=system:kube-controller-manager"),
    Certificate("scheduler", "/CN=system:kube-scheduler"),
    Certificate("kube-proxy", "/CN=system:kube-proxy"),
    Certificate("apiserver-kubelet", "/O=system:masters/CN=kube-apiserver-kubelet-client"),
    Certificate("front-proxy", "/CN=front-proxy"),
    Certificate("kubelet", f"/O=system:nodes/CN=system:node:{NODE}", "clientAuth,serverAuth", f"DNS:{NODE},IP:{NODE_ADDRESS}"),
    Certificate("apiserver", "/CN=kube-apiserver", "serverAuth", _API_NAMES),
)
CLIENTS = ("admin", "controller-manager", "scheduler", "kube-proxy", "kubelet")


def ensure(state: State) -> None:
    """Make all keys and certificates once per state folder, and the kubeconfigs."""
    if not state.pki.exists():
        part = state.pki.with_suffix(".part")  # appears whole or not at all
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True, mode=0o700)
        _make(part)
        part.rename(state.pki)
    for client in CLIENTS:  # from inside the node
        _write(state.pki / f"{client}.kubeconfig", _kubeconfig(state.pki, client, NODE_ADDRESS))
    _write(state.kubeconfig, _kubeconfig(state.pki, "admin", MACHINE_LINK_ADDRESS))


def _make(folder: Path) -> None:
    _key(folder, "ca")
    _openssl(folder, "req", "-x509", "-new", "-key", "ca.key", "-subj", f"/CN={CONTEXT}-ca", "-days", DAYS, "-out", "ca.crt")
    _openssl(folder, "genrsa", "-out", "service-account.key", "2048")
    _openssl(folder, "rsa", "-in", "service-account.key", "-pubout", "-out", "service-account.pub")
    for certificate in CERTIFICATES:
        name = certificate.name
        _key(folder, name)
        _openssl(folder, "req", "-new", "-key", f"{name}.key", "-subj", certificate.subject, "-out", f"{name}.csr")
        lines = [f"extendedKeyUsage={certificate.usage}"]
        lines += [f"subjectAltName={certificate.addresses}"] if certificate.addresses else []
        (folder / "extensions").write_text("\n".join(lines))
        sign = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", DAYS, "-extfile", "extensions"]
        _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *sign, "-out", f"{name}.crt")
        (folder / f"{name}.csr").unlink()
    for key in folder.glob("*.key"):
        key.chmod(0o600)


def _key(folder: Path, name: str) -> None:
    _openssl(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def _kubeconfig(folder: Path, client: str, address: str) -> str:
    """Self-contained: it may be copied anywhere."""

    def embedded(name: str) -> str:
        return base64.b64encode((folder / name).read_bytes()).decode()

    return f"""\
apiVersion: v1
kind: Config
clusters:
- name: {CONTEXT}
  cluster: {{server: "https://{address}:{API_PORT}", certificate-authority-data: {embedded("ca.crt")}}}
users:
- name: {CONTEXT}
  user: {{client-certificate-data: {embedded(f"{client}.crt")}, client-key-data: {embedded(f"{client}.key")}}}
contexts:
- name: {CONTEXT}
  context: {{cluster: {CONTEXT}, user: {CONTEXT}}}
current-context: {CONTEXT}
"""


def _write(path: Path, text: str) -> None:
    if path.exists() and path.read_text() == text:
        return
    part = path.with_name(path.name + ".part")
    part.touch(mode=0o600)
    part.write_text(text)
    part.rename(path)
