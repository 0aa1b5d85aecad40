"""Who is named to act as is named on every connection, or nothing is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sandbox_client import Client, ConfigError, Impersonation, SandboxError, cli
from sandbox_client.kubeconfig import Connection, load
from tests.unit.sandbox_client.test_kubeconfig import config, write

ALICE = Impersonation("alice", ("dev", "ops"), "u-1", (("example.org/Team", ("a", "b")),))
SENT = [
    ("impersonate-extra-example.org%2fteam", "a"),
    ("impersonate-extra-example.org%2fteam", "b"),
    ("impersonate-group", "dev"),
    ("impersonate-group", "ops"),
    ("impersonate-uid", "u-1"),
    ("impersonate-user", "alice"),
]


def sent(request: web.Request) -> list[tuple[str, str]]:
    return sorted((name.lower(), value) for name, value in request.headers.items() if name.lower().startswith("impersonate"))


async def connections(made: Impersonation) -> list[web.Request]:
    """One of each kind: a short request, a stream, a watch, a body, a WebSocket and what asks why that was refused."""
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response({"kind": "Status", "apiVersion": "v1", "code": 403, "message": "no"}, status=403)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    async with TestServer(app) as server:
        connection = Connection(str(server.make_url("")).rstrip("/"), "demo", token="t", impersonation=made)
        async with Client(connection) as client:
            shop = client.sandbox("shop")
            headers = {"Impersonate-User": "root", "impersonate-group": "system:masters", "authorization": "Bearer x"}
            for call in (
                shop.status(),
                shop.read_file("a"),
                shop.sync({"a": "b"}),
                shop.proxy(headers=headers),
                shop.delete(),
                anext(aiter(shop.log_records(follow=True))),
                anext(shop.watch_files()),
                shop.exec("true"),
            ):
                with pytest.raises(SandboxError):
                    await call
    return seen


async def test_every_connection_says_as_whom() -> None:
    seen = await connections(ALICE)
    assert len(seen) == 9  # the refused WebSocket is asked about once more
    assert any(request.headers.get("Upgrade") == "websocket" for request in seen)
    for request in seen:
        assert sent(request) == SENT, request.path
        assert request.headers.getall("Authorization") == ["Bearer t"]


async def test_without_one_nothing_is_said_but_what_a_caller_of_the_proxy_says() -> None:
    for request in await connections(Impersonation()):
        assert bool(sent(request)) == request.path.endswith("/proxy/")


def test_a_kubeconfig_names_user_groups_uid_and_extra(tmp_path: Path) -> None:
    user = {
        "token": "t",
        "as": "alice",
        "as-groups": ["dev", "ops"],
        "as-uid": "u-1",
        "as-user-extra": {"example.org/Team": ["a", "b"]},
    }
    assert load(write(tmp_path, config(user))).impersonation == ALICE


def test_flags_go_over_the_kubeconfig_field_by_field(tmp_path: Path) -> None:
    file = write(tmp_path, config({"token": "t", "as": "alice", "as-groups": ["dev"]}))
    assert load(file, impersonate=Impersonation("bob")).impersonation == Impersonation("bob", ("dev",))
    assert load(file, impersonate=Impersonation(groups=("x",))).impersonation == Impersonation("alice", ("x",))


@pytest.mark.parametrize(
    "user",
    [
        {"as-groups": ["dev"]},
        {"as-uid": "1"},
        {"as-user-extra": {"a": ["b"]}},
        {"as": 5},
        {"as": "a", "as-groups": "dev"},
        {"as": "a", "as-groups": [1]},
        {"as": "a", "as-groups": [""]},
        {"as": "a", "as-user-extra": {"k": "v"}},
        {"as": "a", "as-user-extra": ["k"]},
        {"as": "a\r\nImpersonate-Group: system:masters"},
        {"as": " a"},
    ],
)
def test_what_cannot_be_sent_is_refused_and_never_left_out(tmp_path: Path, user: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        load(write(tmp_path, config({"token": "t", **user})))


def test_the_plugin_takes_kubectl_s_flags_before_and_after_the_verb() -> None:
    found = cli._arguments(["--as", "x", "--as-group", "a", "list", "--as", "bob", "--as-group", "b", "--as-group", "c"])
    assert (found.as_user, cli._groups(found), found.as_uid) == ("bob", ("a", "b", "c"), None)
    assert cli._groups(cli._arguments(["list"])) == ()


@pytest.mark.parametrize("flag", ["--as", "--as-group", "--as-uid"])
def test_an_empty_flag_does_not_mean_the_owner_of_the_credential(flag: str) -> None:
    with pytest.raises(SystemExit):
        cli._arguments(["list", flag, ""])


async def test_the_plugin_sends_them(tmp_path: Path) -> None:
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response({"items": []})

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    async with TestServer(app) as server:
        file = write(tmp_path, config({"token": "t"}, {"server": str(server.make_url("")).rstrip("/")}))
        flags = ["--as", "alice", "--as-group", "dev", "--as-group", "ops", "--as-uid", "u-1"]
        assert await cli._run(cli._arguments(["--kubeconfig", str(file), "list", *flags])) == 0
    assert sent(seen[0]) == [item for item in SENT if "extra" not in item[0]]
