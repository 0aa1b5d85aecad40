import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sandbox_operator.apiserver.authn import User
from sandbox_operator.apiserver.previews import Previews, forgettable
from sandbox_operator.apiserver.runners import Runner
from sandbox_operator.kube import errors as kube_errors
from sandbox_operator.model import preview_keys, preview_token
from sandbox_operator.settings import Preview, Settings
from sandbox_protocol.errors import StatusError
from sandbox_protocol.refs import Refs

UID = "0b0f6f0e-93a5-4d3b-8d3f-2f6c4f3a9b10"
RUNNER = Runner("team", "shop", Refs(UID), 3000, False, "")
ALICE = User("alice", ("dev", "system:authenticated"))
NOW = 1_800_000_000.25


class ConfigMaps:
    """The one ConfigMap there is, as the API server keeps it."""

    def __init__(self, data: dict[str, str] | None = None) -> None:
        self.data = dict(data or {})
        self.error: Exception | None = None

    async def get(self, resource: Any, name: str, namespace: str) -> dict[str, Any]:
        assert (resource.plural, name, namespace) == ("configmaps", "preview-revocations", "sandbox-system")
        if self.error:
            raise self.error
        return {"data": dict(self.data)} if self.data else {}

    async def merge_patch(self, resource: Any, name: str, patch: dict[str, Any], namespace: str) -> None:
        assert (resource.plural, name, namespace) == ("configmaps", "preview-revocations", "sandbox-system")
        for key, value in patch["data"].items():
            if value is None:
                self.data.pop(key, None)
            else:
                self.data[key] = value


class Time:
    """A clock that moves only by being slept on."""

    def __init__(self) -> None:
        self.now = NOW

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def previews(folder: Path, maps: ConfigMaps, time: Time, public: Preview | None = None) -> Previews:
    public = public or Preview("preview.localhost", "http", 8090)
    settings = Settings(public, "sandbox-system", "apiserver-0")
    return Previews(maps, settings, folder, clock=time.clock, sleep=time.sleep)  # type: ignore[arg-type]


def write(folder: Path, ring: preview_keys.Ring) -> None:
    (folder / "keys.json").write_text(json.dumps(ring))


def test_a_url_leads_to_the_runners_own_host_with_a_token_for_it(tmp_path: Path) -> None:
    ring = preview_keys.new_ring(NOW)
    write(tmp_path, ring)
    url, expires = previews(tmp_path, ConfigMaps(), Time()).issue(ALICE, RUNNER, 5173, 600)
    parts = urlsplit(url)
    host = RUNNER.refs.public_host(5173, "preview.localhost")
    assert (parts.scheme, parts.netloc, parts.path) == ("http", f"{host}:8090", "/")
    (token,) = parse_qs(parts.query)["sandbox_token"]
    claims = preview_token.verify(preview_keys.public(ring), token, host, NOW)
    assert (claims.user, claims.groups, claims.uid, claims.namespace, claims.name) == (
        "alice",
        ALICE.groups,
        UID,
        "team",
        "shop",
    )
    assert (claims.port, claims.issued, claims.expires, expires) == (5173, 1_800_000_000, 1_800_000_600, 1_800_000_600)


def test_a_schemes_own_port_is_not_written(tmp_path: Path) -> None:
    write(tmp_path, preview_keys.new_ring(NOW))
    url, _ = previews(tmp_path, ConfigMaps(), Time(), Preview("apps.example", "https", 443)).issue(ALICE, RUNNER, 80, 60)
    assert urlsplit(url).netloc == RUNNER.refs.public_host(80, "apps.example")


def test_each_token_is_another_one(tmp_path: Path) -> None:
    write(tmp_path, preview_keys.new_ring(NOW))
    made = previews(tmp_path, ConfigMaps(), Time())
    assert made.issue(ALICE, RUNNER, 80, 60) != made.issue(ALICE, RUNNER, 80, 60)


def test_the_key_that_signs_is_the_first_one_of_the_file_now(tmp_path: Path) -> None:
    made = previews(tmp_path, ConfigMaps(), Time())
    host = RUNNER.refs.public_host(80, "preview.localhost")
    for ring in (preview_keys.new_ring(NOW), preview_keys.new_ring(NOW)):
        write(tmp_path, ring)
        token = parse_qs(urlsplit(made.issue(ALICE, RUNNER, 80, 60)[0]).query)["sandbox_token"][0]
        assert preview_token.verify(preview_keys.public(ring), token, host, NOW).user == "alice"


@pytest.mark.parametrize("content", [None, "", "{}", '{"keys":[]}', '{"keys":[{"kid":"a"}]}', "[]", "null", "\x00"])
def test_without_a_usable_key_nothing_is_issued(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "keys.json").write_text(content)
    with pytest.raises(StatusError) as refused:
        previews(tmp_path, ConfigMaps(), Time()).issue(ALICE, RUNNER, 80, 60)
    assert refused.value.code == 503


def test_a_token_too_long_for_a_cookie_is_refused_and_not_lost_in_the_browser(tmp_path: Path) -> None:
    write(tmp_path, preview_keys.new_ring(NOW))
    many = User("alice", tuple(f"group-{n:040}" for n in range(100)))
    with pytest.raises(StatusError) as refused:
        previews(tmp_path, ConfigMaps(), Time()).issue(many, RUNNER, 80, 60)
    assert refused.value.code == 422
    assert "100 groups" in refused.value.message


async def test_revoking_voids_what_was_issued_and_nothing_that_comes_after(tmp_path: Path) -> None:
    write(tmp_path, preview_keys.new_ring(NOW))
    maps, time = ConfigMaps(), Time()
    made = previews(tmp_path, maps, time)
    ends = [made.issue(ALICE, RUNNER, 80, 60)[1]]
    await made.revoke(RUNNER)
    ends.append(made.issue(ALICE, RUNNER, 80, 60)[1])
    before, after = (end - 60 for end in ends)
    assert before < int(maps.data[UID]) <= after


async def test_revocations_older_than_any_token_are_forgotten_and_others_kept(tmp_path: Path) -> None:
    other = "11111111-2222-3333-4444-555555555555"
    recent = "22222222-2222-3333-4444-555555555555"
    maps = ConfigMaps({other: str(int(NOW) - 2 * 86400), recent: str(int(NOW) - 3600), "odd": "text"})
    await previews(tmp_path, maps, Time()).revoke(RUNNER)
    assert set(maps.data) == {UID, recent}
    assert forgettable({recent: str(int(NOW) - 86400)}, NOW) == []


async def test_a_revocation_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    maps = ConfigMaps()
    maps.error = kube_errors.Unavailable(503, "etcd")
    with pytest.raises(StatusError) as refused:
        await previews(tmp_path, maps, Time()).revoke(RUNNER)
    assert refused.value.code == 503
