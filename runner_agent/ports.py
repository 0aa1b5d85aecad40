"""Which TCP ports something in the pod listens on: its containers share one network, so ``/proc/net/tcp`` tells."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable
from dataclasses import dataclass
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

    def to_json(self) -> dict[str, int | str]:
        return {"port": self.port, "address": self.address}


def parse(table: str) -> set[Listener]:
    """Listening sockets of one table of the kernel; lines that are not understood are passed over."""
    found = set()
    for line in table.splitlines()[1:]:
        fields = line.split(None, 4)
        if len(fields) >= 4 and fields[3] == _LISTEN:
            address, _, port = fields[1].partition(":")
            try:
                found.add(Listener(int(port, 16), _address(address)))
            except ValueError:
                continue
    return found


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


def read_tables(proc: Path = Path("/proc/self/net")) -> list[str]:
    tables = []
    for name in ("tcp", "tcp6"):
        try:
            tables.append((proc / name).read_text("ascii"))
        except OSError:  # no IPv6 on this node
            continue
    return tables
