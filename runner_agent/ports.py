"""Which TCP ports something in the pod listens on: its containers share one network, so ``/proc/net/tcp`` tells."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sandbox_protocol import names

OWN_PORTS = frozenset({names.CONTROL_PORT, names.LAUNCHER_PORT, names.PREVIEW_PORT})
_LISTEN = "0A"
_MOST = 256
"""Ports reported; the app could open 60,000 to make the answer huge."""


@dataclass(frozen=True, slots=True, order=True)
class Listener:
    port: int
    address: str
    waiting: int = field(default=0, compare=False)
    """Connections that nobody has accepted yet. 0 under gVisor, which does not count them."""

    def hosts(self) -> tuple[str, ...]:
        """Addresses at which this pod reaches it, the likeliest first; none for an address that needs a zone."""
        address = ipaddress.ip_address(self.address)
        if isinstance(address, ipaddress.IPv6Address):
            if address.ipv4_mapped is not None:
                return (str(address.ipv4_mapped),)
            if address.is_link_local:
                return ()
            # most sockets on :: take both families, some take IPv6 alone; the table does not tell them apart
            return ("127.0.0.1", "::1") if address.is_unspecified else (self.address,)
        return ("127.0.0.1",) if address.is_unspecified else (self.address,)

    def to_json(self) -> dict[str, int | str]:
        return {"port": self.port, "address": self.address}


def parse(table: str) -> set[Listener]:
    """Listening sockets of one table of the kernel; lines that are not understood are passed over."""
    found: dict[Listener, Listener] = {}
    for line in table.splitlines()[1:]:
        fields = line.split(None, 5)
        if len(fields) >= 4 and fields[3] == _LISTEN:
            address, _, port = fields[1].partition(":")
            queued = fields[4].partition(":")[2] if len(fields) > 4 else ""
            try:
                one = Listener(int(port, 16), _address(address), int(queued or "0", 16))
            except ValueError:
                continue
            if not 0 < one.port < 65536 or one.waiting < 0:
                continue
            # several sockets may share a port (SO_REUSEPORT): it is served while one of them is
            if one not in found or one.waiting < found[one].waiting:
                found[one] = one
    return set(found.values())


def _address(text: str) -> str:
    """The kernel prints an address as 32-bit words in the machine's own byte order."""
    raw = bytes.fromhex(text)
    if len(raw) not in (4, 16):
        raise ValueError(f"not an address: {text}")
    if sys.byteorder == "little":
        raw = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
    return str(ipaddress.ip_address(raw))


def listening(tables: Iterable[str], own: frozenset[int] = OWN_PORTS) -> list[Listener]:
    """The app's listeners, sorted, without the agent's ports."""
    found = {listener for table in tables for listener in parse(table) if listener.port not in own}
    return sorted(found)[:_MOST]


def look() -> list[Listener]:
    """The app's listeners now. Reads files of the kernel, which takes time where the app holds many connections."""
    return listening(read_tables())


def read_tables(proc: Path = Path("/proc/self/net")) -> list[str]:
    tables = []
    for name in ("tcp", "tcp6"):
        try:
            tables.append((proc / name).read_text("ascii"))
        except OSError:  # no IPv6 on this node
            continue
    return tables
