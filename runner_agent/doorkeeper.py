"""Listening sockets that turn a connection away before it costs anything when its peer has enough of them.

The app shares our network namespace: no policy keeps it from our ports, and it may open thousands of connections, or hold them in
silence. Nobody else has a reason to come from inside the pod (the launcher has a port of its own), so what comes from there gets
few places. Peers from outside are ours by network policy; each address has more than it ever needs, against a mistake.
"""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

OWN_POD = "own pod"
BACKLOG = 1024
"""What waits to be accepted. A short queue that the app has filled would make the API server's SYN wait a second."""
_TURNED_AWAY_AT_ONCE = 64
"""Before other work gets its turn."""


@dataclass(frozen=True, slots=True)
class Places:
    """Connections at once on one port: from inside the pod, and from each address outside it."""

    own_pod: int
    each: int = 512
    """Two replicas of the API server let 128 short requests and 256 streams through to a runner, a gateway 256 exchanges."""


def peer_of(remote: str, local: str) -> str:
    """Whom a connection counts for, by its two addresses: all of loopback is one, and so is the pod's own address."""
    remote, local = (address.removeprefix("::ffff:").partition("%")[0] for address in (remote, local))
    return OWN_POD if remote == local or is_own(remote) or _is_loopback(local) else remote


@lru_cache(256)
def is_own(address: str) -> bool:
    """Whether ``address`` is one of this pod's: loopback, or one that the kernel lets a socket have. They do not change while a
    pod lives. By two addresses of one connection it cannot be told: an app may come from one of the pod's and go to another."""
    if _is_loopback(address):
        return True
    with contextlib.suppress(OSError), socket.socket(_family(address)) as probe:
        probe.bind((address, 0))
        return True
    return False


_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses of documentation (RFC 5737, 3849), to which only a way is asked for."""


def listen(port: int, places: Places, host: str | None = None, *, by_name: bool = False) -> list[socket.socket]:
    """On ``host``, or on every address of the pod, IPv6 where there is any. ``by_name``: on each of them besides, as gVisor's
    network lets the app listen on one beside us on all, and prefers the app. OSError when the port is taken."""
    everywhere = "0.0.0.0"  # noqa: S104 - the pod's network policy says who comes
    listening = [_Door.opened(socket.AF_INET, host or everywhere, port, places, Counter())]
    port, present = port or int(listening[0].getsockname()[1]), listening[0].present
    if host is None and socket.has_ipv6:
        with contextlib.suppress(OSError):  # a node without IPv6
            listening.append(_Door.opened(socket.AF_INET6, "::", port, places, present))
    if by_name:
        listening += [_Door.opened(_family(address), address, port, places, present) for address in own_addresses()]
    return list(listening)


def own_addresses() -> list[str]:
    """Where somebody of ours may come to: loopback, and what this pod goes out by, which is what its peers know it by."""
    found = ["127.0.0.1"]
    for family, elsewhere in _ELSEWHERE:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))  # only chooses the route: nothing is sent
            found.append(probe.getsockname()[0])
    return list(dict.fromkeys(found))


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class _Door(socket.socket):
    places: Places
    present: Counter[str]

    @classmethod
    def opened(cls, family: int, host: str, port: int, places: Places, present: Counter[str]) -> Self:
        door = cls(family, socket.SOCK_STREAM)
        door.places, door.present = places, present
        try:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            door.bind((host, port))
            door.listen(BACKLOG)
            door.setblocking(False)
        except OSError:
            door.close()
            raise
        return door

    def accept(self) -> tuple[socket.socket, Any]:
        """BlockingIOError also after a round of refusals: the event loop comes back, as more are waiting."""
        for _ in range(_TURNED_AWAY_AT_ONCE):
            accepted, address = super().accept()
            peer = peer_of(address[0], accepted.getsockname()[0])
            if self.present[peer] < (self.places.own_pod if peer == OWN_POD else self.places.each):
                return _Guest.admitted(accepted, peer, self.present), address
            accepted.close()
        raise BlockingIOError


class _Guest(socket.socket):
    peer = ""
    present: Counter[str]

    @classmethod
    def admitted(cls, accepted: socket.socket, peer: str, present: Counter[str]) -> Self:
        guest = cls(accepted.family, accepted.type, accepted.proto, accepted.detach())
        guest.peer, guest.present = peer, present
        present[peer] += 1
        return guest

    def close(self) -> None:
        if self.peer:
            self.present[self.peer] -= 1
            if not self.present[self.peer]:
                del self.present[self.peer]
            self.peer = ""
        super().close()


def _is_loopback(address: str) -> bool:
    return address.startswith(("127.", "::ffff:127.")) or address == "::1"
