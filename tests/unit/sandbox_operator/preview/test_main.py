import asyncio
import dataclasses
import json
import logging
from pathlib import Path

import pytest

from sandbox_operator.errors import SettingsError
from sandbox_operator.model import preview_keys
from sandbox_operator.model.preview_token import Claims
from sandbox_operator.preview import audit, main
from sandbox_operator.preview.access import Access
from sandbox_operator.preview.gateway import Gateway
from sandbox_operator.preview.main import KeyFile, Options
from sandbox_operator.preview.metrics import Metrics
from sandbox_operator.settings import Preview
from sandbox_protocol.http1 import parse_request
from sandbox_protocol.http1_proxy import Proxy
from tests.unit.sandbox_operator.preview.test_gateway import CLAIMS, RING, TOKEN, Cluster, request, session

PUBLIC = preview_keys.public(RING)
MINE: Claims = dataclasses.replace(CLAIMS, kid=RING["keys"][0]["kid"])


class Open:
    """A client with something open."""

    session = MINE


async def test_changes_that_never_end_keep_nobody_from_asking_for_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "_ROUND_SECONDS", 0.02)
    cluster = Cluster()
    access = Access(cluster, dict, lambda: PUBLIC, cluster.ask)
    proxy = Proxy(Gateway(access, Preview("preview.localhost", "http", 1)))
    proxy.clients = {Open()}  # type: ignore[arg-type]
    monkeypatch.setattr(proxy, "end_sessions", lambda over: 0)
    look_again = asyncio.Event()
    sweeping = asyncio.create_task(main._sweep(proxy, access, look_again))
    async with asyncio.timeout(2):
        while not cluster.reviews:
            look_again.set()
            await asyncio.sleep(0.001)
    sweeping.cancel()


def test_a_changed_ring_is_told_and_an_unreadable_one_changes_nothing(tmp_path: Path) -> None:
    told: list[int] = []
    keys = KeyFile(tmp_path / "keys.json")
    keys.on_change = lambda: told.append(len(keys.ring["keys"]))
    keys.load()
    (tmp_path / "keys.json").write_text(json.dumps(PUBLIC))
    keys.load()
    keys.load()
    (tmp_path / "keys.json").write_text("{}")
    keys.load()
    assert told == [1]
    assert keys.ring == PUBLIC


def test_what_is_being_deleted_is_still_known_to_be() -> None:
    metadata = {"name": "a", "namespace": "b", "uid": "c", "resourceVersion": "1", "deletionTimestamp": "now", "labels": {}}
    assert main._slim({"metadata": metadata})["metadata"] == {key: metadata[key] for key in metadata if key != "labels"}


def test_the_audit_log_names_who_and_what_and_holds_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    line = f"GET /cart?sandbox_token={TOKEN}&q=private HTTP/1.1\r\nHost: h\r\nCookie: sid=private\r\n\r\n"
    asked = parse_request(line.encode(), b"a-1")
    audit.session("session begun", asked, "192.0.2.1", CLAIMS)
    audit.request(asked, "192.0.2.1", 200, CLAIMS)
    audit.request(asked, "192.0.2.1", 401, None)
    fields = [record.fields for record in caplog.records]  # type: ignore[attr-defined]
    assert fields[1] == {
        "request": "a-1",
        "peer": "192.0.2.1",
        "method": "GET",
        "host": "h",
        "path": "/cart",
        "code": 200,
        "user": "alice",
        "namespace": "demo",
        "name": "shop",
        "uid": CLAIMS.uid,
        "jti": "j",
    }
    assert "user" not in fields[2]
    assert "private" not in repr(fields)
    assert TOKEN not in repr(fields)


async def test_the_metrics_are_a_fixed_set_and_count_what_happened() -> None:
    cluster = Cluster()
    access = Access(cluster, dict, lambda: PUBLIC, cluster.ask)
    gateway = Gateway(access, Preview("preview.localhost", "http", 1))
    proxy = Proxy(gateway)
    metrics = Metrics(proxy, gateway, access)
    names = {line.split(" ")[0] for line in metrics.render().decode().splitlines() if line.startswith("sandbox_")}
    proxy.answered[2] += 3
    await gateway(request(f"/?sandbox_token={TOKEN}"), "")
    await gateway(request("/", session("bad")), "")
    text = metrics.render().decode()
    assert 'sandbox_preview_responses_total{code="2xx"} 3.0' in text
    assert "sandbox_preview_sessions_total 1.0" in text
    assert 'sandbox_preview_refused_total{reason="session"} 1.0' in text
    assert 'sandbox_preview_authorizations_total{answer="yes"} 1.0' in text
    assert names == {line.split(" ")[0] for line in text.splitlines() if line.startswith("sandbox_")}


def test_the_options_are_checked_at_start() -> None:
    assert Options.load({"MAX_CONNECTIONS": "10", "LOG_REQUESTS": "true"}).max_clients == 10
    with pytest.raises(SettingsError, match="MAX_CONNECTIONS"):
        Options.load({"MAX_CONNECTIONS": "many"})
