"""Does the app let the preview's host in: asked once a run with a request for nothing, as frameworks have ever new names for it.

Django answers 400 for a host that it does not know, Rails, Vite and webpack 403, others 421. An app that answers so to the
preview's host and otherwise to ``localhost`` checks, and is told the local one.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

from runner_agent import frameworks
from runner_agent.frameworks import World
from sandbox_protocol.http1_routing import Address

_REFUSALS = frozenset([b"400", b"403", b"421"])
_SECONDS = 2.0
PATH = "/.sandbox/host"


@dataclass(frozen=True, slots=True)
class _Known:
    run: float
    world: World


class Worlds:
    """What each port's app is told. ``run`` is any number that is another one for another run."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}

    def known(self, port: int) -> World:
        found = self._known.get(port)
        return "local" if found is None else found.world

    async def learn(self, port: int, run: float, framework: str, address: Address, public: bytes) -> World:
        found = self._known.get(port)
        if found is None or found.run != run:
            world = frameworks.world(framework) or await _asked(address, public.decode("latin-1"))
            found = self._known[port] = _Known(run, world)
        return found.world


async def _asked(address: Address, public: str) -> World:
    """``local`` where nothing can be learnt: every app answers to that."""
    seen = await _status(address, public)
    if seen is None:
        return "local"
    if seen not in _REFUSALS or await _status(address, f"localhost:{address[1]}") == seen:
        return "public"
    return "local"


async def _status(address: Address, host: str) -> bytes | None:
    request = f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Host: {host}\r\nUser-Agent: sandbox-host-check\r\n"
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(_SECONDS):
            tls: list[ssl.SSLContext]
            where, port, *tls = address
            reader, writer = await asyncio.open_connection(where, port, limit=4096, ssl=tls[0] if tls else None)
            writer.write(f"{request}Accept: */*\r\nConnection: close\r\n\r\n".encode("latin-1"))
            line = await reader.readexactly(12)
            return line[9:12] if line.startswith(b"HTTP/1.") else None
    except (OSError, asyncio.IncompleteReadError):
        return None
    finally:
        if writer is not None:
            writer.transport.abort()
