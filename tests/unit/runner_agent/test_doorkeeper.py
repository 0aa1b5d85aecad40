"""Real connections from this machine: all of them count as the pod's own."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from runner_agent import doorkeeper
from runner_agent.doorkeeper import OWN_POD, Places, peer_of


@pytest.mark.parametrize(
    ("remote", "local", "peer"),
    [
        ("127.0.0.1", "127.0.0.1", OWN_POD),
        ("127.9.9.9", "127.0.0.1", OWN_POD),
        ("10.244.0.7", "10.244.0.7", OWN_POD),
        ("10.244.0.7", "127.0.0.1", OWN_POD),
        ("::1", "::1", OWN_POD),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", OWN_POD),
        ("fe80::1%eth0", "fe80::1", OWN_POD),
        ("10.244.0.9", "10.244.0.7", "10.244.0.9"),
    ],
)
def test_whom_a_connection_counts_for(remote: str, local: str, peer: str) -> None:
    assert peer_of(remote, local) == peer


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"in")


async def test_so_many_of_a_peer_are_let_in_and_no_more_until_one_leaves() -> None:
    (door,) = doorkeeper.listen(0, Places(own_pod=2), "127.0.0.1")
    address = door.getsockname()
    server = await asyncio.get_running_loop().create_server(Echo, sock=door)

    async def come() -> tuple[bytes, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*address)
        try:
            return await reader.read(2), writer
        except ConnectionResetError:
            return b"", writer

    first, second, third = [await come() for _ in range(3)]
    assert [first[0], second[0], third[0]] == [b"in", b"in", b""]
    for _, writer in (first, third):
        writer.close()
        await writer.wait_closed()
    fourth = await come()
    assert fourth[0] == b"in"
    second[1].close()
    fourth[1].close()
    server.close()


async def test_a_crowd_that_is_turned_away_keeps_nobody_from_coming_later() -> None:
    (door,) = doorkeeper.listen(0, Places(own_pod=1), "127.0.0.1")
    address = door.getsockname()
    server = await asyncio.get_running_loop().create_server(Echo, sock=door)
    crowd = [await asyncio.open_connection(*address) for _ in range(300)]
    for _, writer in crowd:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in crowd), return_exceptions=True)
    reader, writer = await asyncio.open_connection(*address)
    assert await reader.read(2) == b"in"
    writer.close()
    server.close()


def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_open() -> None:
    (door,) = doorkeeper.listen(0, Places(own_pod=1), "127.0.0.1")
    with pytest.raises(OSError, match="in use"):
        doorkeeper.listen(door.getsockname()[1], Places(own_pod=1), "127.0.0.1")
    door.close()


def test_the_addresses_that_others_know_this_machine_by_are_its_own() -> None:
    found = doorkeeper.own_addresses()
    assert found[0] == "127.0.0.1"
    assert len(set(found)) == len(found)
    assert all(doorkeeper.is_own(address) for address in found)


def test_in_gvisor_each_address_of_the_pod_is_listened_on_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real socket cannot do so here: Linux refuses it, to us as to the app, which is why only gVisor needs it."""
    opened: list[tuple[str, int]] = []

    def note(_family: int, host: str, port: int, _places: Places, present: Counter[str]) -> Any:
        opened.append((host, port))
        return SimpleNamespace(getsockname=lambda: (host, 7070), present=present)

    monkeypatch.setattr(doorkeeper._Door, "opened", note)
    monkeypatch.setattr(doorkeeper, "own_addresses", lambda: ["127.0.0.1", "10.244.0.7", "fd00::7"])
    everywhere = ["0.0.0.0", "::"] if socket.has_ipv6 else ["0.0.0.0"]
    doorkeeper.listen(7070, Places(own_pod=1))
    assert [host for host, _ in opened] == everywhere
    opened.clear()
    doorkeeper.listen(7070, Places(own_pod=1), by_name=True)
    assert opened == [(host, 7070) for host in (*everywhere, "127.0.0.1", "10.244.0.7", "fd00::7")]
