"""The Secrets and certificates that the controller makes."""

from __future__ import annotations

import base64
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from sandbox_operator.controller import certificates, control_secret, env_secret, preview_ring
from sandbox_operator.controller.certificates import Serving
from sandbox_operator.controller.env_secret import EnvReader
from sandbox_operator.errors import Rejected
from sandbox_operator.kube import errors
from sandbox_operator.model.parts import EnvVar
from sandbox_operator.model.record import read
from sandbox_protocol.refs import Refs

REFS = Refs("0f0e0d0c-0b0a-4908-8706-050403020100")
OTHER = Refs("1f0e0d0c-0b0a-4908-8706-050403020100")
NOW = datetime.now(UTC)
HOSTS = ("sandbox-apiserver.sandbox-system.svc",)


def handshake(server_files: tuple[bytes, bytes], trusted: bytes, host: str, folder: Path) -> None:
    """A whole TLS handshake in memory; raises ssl.SSLError when the client does not trust the server for ``host``."""
    chain = folder / "chain.pem"
    chain.write_bytes(b"".join(server_files))
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(chain)
    client_context = ssl.create_default_context(cadata=trusted.decode())
    pipes = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(pipes[0], pipes[1], server_hostname=host)
    server = server_context.wrap_bio(pipes[1], pipes[0], server_side=True)
    done: set[ssl.SSLObject] = set()
    for _ in range(10):
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
        if len(done) == 2:
            return
    raise AssertionError("the handshake does not end")


def decoded(data: dict[str, str]) -> dict[str, bytes]:
    return {name: base64.b64decode(value) for name, value in data.items()}


def test_a_pinned_certificate_is_trusted_for_its_runner_and_no_other(tmp_path: Path) -> None:
    data = decoded(control_secret.fresh(REFS, NOW))
    handshake((data["tls.crt"], data["tls.key"]), data["tls.crt"], REFS.control_host, tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake((data["tls.crt"], data["tls.key"]), data["tls.crt"], OTHER.control_host, tmp_path)
    another = decoded(control_secret.fresh(REFS, NOW))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake((another["tls.crt"], another["tls.key"]), data["tls.crt"], REFS.control_host, tmp_path)


def test_a_rotation_keeps_token_and_certificate_of_before_until_it_is_settled() -> None:
    before = control_secret.fresh(REFS, NOW)
    after = control_secret.fresh(REFS, NOW, before)
    assert (after["previous-token"], after["previous-tls.crt"]) == (before["token"], before["tls.crt"])
    assert after["token"] != before["token"]
    assert "previous-tls.key" not in after
    assert control_secret.is_usable(after, REFS, NOW)
    assert not control_secret.is_settled(after)
    assert control_secret.is_settled(control_secret.settled(after))
    third = control_secret.fresh(REFS, NOW, after)
    assert third["previous-token"] == after["token"], "one generation and no more"


def test_a_control_secret_is_used_until_it_must_be_renewed() -> None:
    data = control_secret.fresh(REFS, NOW)
    assert control_secret.is_usable(data, REFS, NOW)
    assert control_secret.is_usable(data, REFS, NOW + timedelta(days=200))
    assert not control_secret.is_usable(data, REFS, NOW + timedelta(days=250))
    assert not control_secret.is_usable(data, OTHER, NOW)


@pytest.mark.parametrize("key", ["token", "tls.crt", "tls.key"])
@pytest.mark.parametrize("value", [None, "", "!", base64.b64encode(b"x").decode()])
def test_a_control_secret_that_is_not_whole_is_made_again(key: str, value: str | None) -> None:
    data = control_secret.fresh(REFS, NOW)
    broken = {name: kept for name, kept in data.items() if name != key} | ({} if value is None else {key: value})
    assert not control_secret.is_usable(broken, REFS, NOW)


def test_tokens_are_not_repeated() -> None:
    tokens = {control_secret.fresh(REFS, NOW)["token"] for _ in range(3)}
    assert len(tokens) == 3


def test_the_serving_certificate_is_trusted_by_its_bundle(tmp_path: Path) -> None:
    made = certificates.renewed(HOSTS, b"", NOW)
    assert certificates.is_usable(made, HOSTS, NOW)
    handshake((made.certificate, made.key), made.authorities, HOSTS[0], tmp_path)


def test_old_and_new_certificate_are_both_trusted_while_a_rotation_is_under_way(tmp_path: Path) -> None:
    old = certificates.renewed(HOSTS, b"", NOW)
    new = certificates.renewed(HOSTS, old.authorities, NOW)
    handshake((old.certificate, old.key), new.authorities, HOSTS[0], tmp_path)
    handshake((new.certificate, new.key), new.authorities, HOSTS[0], tmp_path)
    third = certificates.renewed(HOSTS, new.authorities, NOW)
    assert len(x509.load_pem_x509_certificates(third.authorities)) == 2


def test_a_serving_certificate_is_renewed_in_time_and_for_its_hosts() -> None:
    made = certificates.renewed(HOSTS, b"", NOW)
    assert not certificates.is_usable(made, HOSTS, NOW + timedelta(days=250))
    assert not certificates.is_usable(made, ("other",), NOW)
    foreign = certificates.renewed(HOSTS, b"", NOW)
    assert not certificates.is_usable(Serving(made.certificate, made.key, foreign.authorities), HOSTS, NOW)
    assert not certificates.is_usable(Serving(made.certificate, foreign.key, made.authorities), HOSTS, NOW)
    assert not certificates.is_usable(Serving(b"x", b"y", b"z"), HOSTS, NOW)


def test_a_serving_secret_survives_its_encoding() -> None:
    made = certificates.renewed(HOSTS, b"", NOW)
    read_back = Serving.from_data(made.data())
    assert read_back is not None
    assert certificates.is_usable(read_back, HOSTS, NOW)
    assert Serving.from_data({}) is None
    assert Serving.from_data({**made.data(), "tls.key": "!"}) is None


class FakeNamespace:
    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.reads = 0

    async def get(self, *_: Any) -> Any:
        self.reads += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def variable(name: str, **source: Any) -> EnvVar:
    return read(EnvVar, {"name": name, "valueFrom": source})


async def test_values_are_read_once_an_object_and_only_what_is_named() -> None:
    namespace = FakeNamespace({"data": {"a": "QQ==", "b": "Qg==", "c": "Qw=="}})
    reader = EnvReader(namespace, "sandbox-system")  # type: ignore[arg-type]
    variables = [
        variable("A", secretKeyRef={"name": "s", "key": "a"}),
        variable("B", secretKeyRef={"name": "s", "key": "b"}),
        EnvVar(name="C", value="x"),
    ]
    assert await reader.values(variables, "team") == {"A": "QQ==", "B": "Qg=="}
    assert namespace.reads == 1


async def test_config_map_values_are_encoded_like_those_of_secrets() -> None:
    reader = EnvReader(FakeNamespace({"data": {"a": "text"}, "binaryData": {"b": "Qg=="}}), "sandbox-system")  # type: ignore[arg-type]
    variables = [
        variable("A", configMapKeyRef={"name": "m", "key": "a"}),
        variable("B", configMapKeyRef={"name": "m", "key": "b"}),
    ]
    assert await reader.values(variables, "team") == {"A": base64.b64encode(b"text").decode(), "B": "Qg=="}


async def test_without_the_binding_the_message_is_the_command_that_makes_it() -> None:
    reader = EnvReader(FakeNamespace(errors.Forbidden(403, "no")), "sandbox-system")  # type: ignore[arg-type]
    with pytest.raises(Rejected) as caught:
        await reader.values([variable("A", secretKeyRef={"name": "s", "key": "a"})], "team")
    assert caught.value.reason == "EnvNotReadable"
    assert (
        "kubectl create rolebinding sandbox-env-reader --namespace=team --clusterrole=sandbox-env-reader "
        "--serviceaccount=sandbox-system:sandbox-controller" in caught.value.message
    )


@pytest.mark.parametrize("answer", [{"data": {}}, {}, errors.NotFound(404, "no")])
async def test_a_missing_value_is_named_unless_it_is_optional(answer: Any) -> None:
    reader = EnvReader(FakeNamespace(answer), "sandbox-system")  # type: ignore[arg-type]
    assert await reader.values([variable("A", secretKeyRef={"name": "s", "key": "k", "optional": True})], "team") == {}
    with pytest.raises(Rejected, match="Secret team/s with key k does not exist"):
        await reader.values([variable("A", secretKeyRef={"name": "s", "key": "k"})], "team")


def test_the_env_revision_changes_with_the_values_only() -> None:
    first = env_secret.revision({"A": "QQ=="}, None)
    present = env_secret.body(REFS, {"A": "QQ=="}, first)
    assert env_secret.revision({"A": "QQ=="}, present) == first
    assert env_secret.revision({"A": "Qg=="}, present) != first


def test_a_new_preview_key_verifies_before_it_signs() -> None:
    start = 1_000_000.0
    ring = preview_ring.due(None, start)
    (old,) = ring["keys"]
    later = start + 31 * 86_400
    rotated = preview_ring.due(preview_ring.read(preview_ring.signing(ring, start)), later)
    new = rotated["keys"][0]
    assert [key["kid"] for key in json.loads(preview_ring.signing(rotated, later))["keys"]] == [old["kid"], new["kid"]]
    assert new["kid"] in {key["kid"] for key in json.loads(preview_ring.verification(rotated))["keys"]}
    settled = later + preview_ring.SETTLE_SECONDS
    again = preview_ring.due(preview_ring.read(preview_ring.signing(rotated, later)), settled)
    assert json.loads(preview_ring.signing(again, settled))["keys"][0]["kid"] == new["kid"]


def test_what_verifies_cannot_sign() -> None:
    assert all("d" not in key for key in json.loads(preview_ring.verification(preview_ring.due(None, 1.0)))["keys"])


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"keys": [{"iat": 1}]}', '{"keys": 7}'])
def test_a_ring_that_is_none_is_made_again(text: str | None) -> None:
    assert preview_ring.read(text) is None
