from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from cryptography import x509

from sandbox_operator.controller.upkeep import API_SERVICE, SIGNING_SECRET, TLS_SECRET, VERIFICATION_CONFIG_MAP, Upkeep
from sandbox_operator.kube import resources


@pytest.fixture
def upkeep(cluster: Any) -> Upkeep:
    cluster._store(resources.API_SERVICES, {"metadata": {"name": API_SERVICE, "uid": "a"}, "spec": {}})
    return Upkeep(cluster, "sandbox-system")


def secret(cluster: Any, name: str) -> dict[str, bytes]:
    data = cluster.objects["secrets", "sandbox-system", name]["data"]
    return {key: base64.b64decode(value) for key, value in data.items()}


def bundle(cluster: Any) -> bytes:
    return base64.b64decode(cluster.objects["apiservices", "", API_SERVICE]["spec"]["caBundle"])


async def test_a_certificate_is_made_once_and_its_trust_is_published_first(cluster: Any, upkeep: Upkeep) -> None:
    assert await upkeep._certificate()
    assert cluster.log == [f"patch APIService {API_SERVICE}", f"apply Secret {TLS_SECRET}"]
    assert bundle(cluster) == secret(cluster, TLS_SECRET)["ca.crt"]
    cluster.log.clear()
    assert await upkeep._certificate()
    assert cluster.log == []


async def test_a_lost_secret_is_made_again_while_the_served_certificate_stays_trusted(cluster: Any, upkeep: Upkeep) -> None:
    await upkeep._certificate()
    served = bundle(cluster)
    del cluster.objects["secrets", "sandbox-system", TLS_SECRET]
    await upkeep._certificate()
    assert bundle(cluster).endswith(served)
    assert len(x509.load_pem_x509_certificates(bundle(cluster))) == 2


async def test_a_spoilt_bundle_is_put_right(cluster: Any, upkeep: Upkeep) -> None:
    await upkeep._certificate()
    cluster.objects["apiservices", "", API_SERVICE]["spec"]["caBundle"] = ""
    await upkeep._certificate()
    assert bundle(cluster) == secret(cluster, TLS_SECRET)["ca.crt"]


async def test_without_an_api_service_the_secret_is_there_and_the_rest_is_to_do(cluster: Any) -> None:
    assert not await Upkeep(cluster, "sandbox-system")._certificate()
    assert secret(cluster, TLS_SECRET)["tls.crt"]


async def test_preview_keys_are_published_before_they_sign(cluster: Any, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_780_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    await upkeep._preview_keys()
    assert cluster.log == [f"apply ConfigMap {VERIFICATION_CONFIG_MAP}", f"apply Secret {SIGNING_SECRET}"]

    def kids() -> tuple[list[str], set[str]]:
        ring = json.loads(secret(cluster, SIGNING_SECRET)["keys.json"])["keys"]
        public = json.loads(cluster.objects["configmaps", "sandbox-system", VERIFICATION_CONFIG_MAP]["data"]["keys.json"])["keys"]
        return [key["kid"] for key in ring], {key["kid"] for key in public}

    (first,), _ = kids()
    cluster.log.clear()
    await upkeep._preview_keys()
    assert cluster.log == []
    now[0] += 31 * 86_400
    await upkeep._preview_keys()
    signing, known = kids()
    assert signing[0] == first
    assert set(signing) == known
    assert len(known) == 2
    now[0] += 700
    await upkeep._preview_keys()
    assert kids()[0] == signing[::-1]
