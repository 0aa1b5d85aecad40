"""`python -m tests.bench.gateway`: the preview gateway against nginx, before the same server, in turns, each alone on one core.

Needs no cluster, but nginx and wrk: Debian's packages of these names are installed; BENCH_NGINX and BENCH_WRK name others.
The gateway is the real one, with a session to check and heads to rewrite; only what it knows of the cluster is given. nginx has
nothing to check and passes heads through, so the ratio is what our sessions cost beside the proxying itself.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster import packages
from sandbox_operator.model import preview_keys
from sandbox_operator.model.preview_token import Claims, sign
from sandbox_operator.preview import session
from sandbox_protocol.refs import Refs
from tests.bench.figures import Figure, Series

ROUNDS = 5
SECONDS = 4
CONNECTIONS = 64
SMALL_BYTES = 512
"""A small module of a dev server: what is measured is the cost of a request, not of its bytes."""
BULK_BYTES = 100_000_000

UID = "6f1c1c0e-8a3f-4f57-9d9c-0b8a52f0d3aa"
DOMAIN = "preview.localhost"
HOST = Refs(UID).public_host(3000, DOMAIN)

_PROXY_CPU, _OTHER_CPU = 0, 1
_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {servers}
}}
"""
_BACKEND = "server {{ listen 127.0.0.1:{port} backlog=1024; root {root}; }}"
_PROXY = """
  upstream app {{ server 127.0.0.1:{backend}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      # off: by default nginx spools to disk what the client does not take at once, which measures the disk
      proxy_max_temp_file_size 0; }}
  }}
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """``latency_ms`` is the median of one round."""

    requests_per_second: float
    latency_ms: float


def measure() -> list[Figure]:
    """RuntimeError when a tool is missing, or an answer was not what it should be."""
    if (os.cpu_count() or 1) < 2:
        raise RuntimeError("needs two cores: one for the proxy alone, one for client and server")
    now = int(time.time())
    ring = preview_keys.new_ring(now)
    token = sign(ring, Claims(HOST, "ann", ("team",), UID, "demo", "shop", 3000, "bench", now, now + 3600))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # nginx started as root serves as nobody
        backend, nginx, gateway = (_free_port() for _ in range(3))
        _write_files(folder / "root")
        servers = _BACKEND.format(port=backend, root=folder / "root")
        stack.enter_context(_nginx(folder / "backend", servers, backend, _OTHER_CPU))
        stack.enter_context(_nginx(folder / "nginx", _PROXY.format(port=nginx, backend=backend), nginx, _PROXY_CPU))
        ours = [sys.executable, "-m", "tests.bench.gateway_server", str(gateway), str(backend)]
        public = preview_keys.public(ring)
        stack.enter_context(
            _running(ours, gateway, _PROXY_CPU, PREVIEW_RING=json.dumps(public), PREVIEW_UID=UID, PREVIEW_DOMAIN=DOMAIN)
        )

        agent = stack.enter_context(_agent(backend))
        ask = Ask(token, {"gateway": gateway, "nginx": nginx, "agent": agent})
        return [
            ask.figure(f"preview, {SMALL_BYTES} bytes, {CONNECTIONS} connections, per request", "/small", CONNECTIONS, RATE, 1.0),
            ask.figure("preview, one connection, latency", "/small", 1, LATENCY, None),
            ask.figure(f"preview, {BULK_BYTES // 1_000_000} MB, 4 connections, each", "/bulk", 4, BULK, 1.0),
            ask.figure("preview, every header block a new one, per request", "/small", CONNECTIONS, RATE, None, fresh=True),
            ask.figure("the agent's hop, per request", "/small", CONNECTIONS, RATE, None, ours="agent"),
            ask.figure("the agent's hop, one connection, latency", "/small", 1, LATENCY, None, ours="agent"),
        ]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a round tells, and in which unit."""

    unit: str
    of: Callable[[Measured], float]


RATE = Reading("µs", lambda round_: 1e6 / round_.requests_per_second)
LATENCY = Reading("ms", lambda round_: round_.latency_ms)
BULK = Reading("ms", lambda round_: 1e3 / round_.requests_per_second)


@dataclass(frozen=True, slots=True)
class Ask:
    """``ports`` of what is measured, by name."""

    token: str
    ports: Mapping[str, int]

    def figure(
        self,
        name: str,
        path: str,
        connections: int,
        read: Reading,
        goal: float | None,
        *,
        ours: str = "gateway",
        fresh: bool = False,
    ) -> Figure:
        """``ours`` and nginx in turns; ``fresh`` makes every request's headers differ from all before."""
        pair = (ours, "nginx")
        rounds = [[read.of(_wrk(self.ports[who], path, connections, self.token, fresh)) for who in pair] for _ in range(ROUNDS)]
        mine, theirs = zip(*rounds, strict=True)
        return Figure(name, Series(ours, mine, read.unit), Series("nginx", theirs, read.unit), goal=goal)


def _write_files(root: Path) -> None:
    root.mkdir()
    (root / "small").write_bytes(b"x" * SMALL_BYTES)
    with (root / "bulk").open("wb") as file:
        file.truncate(BULK_BYTES)


def _wrk(port: int, path: str, connections: int, token: str, fresh: bool) -> Measured:
    cookie = f"Cookie: sid=1; {session.COOKIE.decode()}={token}"
    browser = ["Accept: */*", "Accept-Language: en-US,en;q=0.9", "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0"]
    headers = [part for line in (f"Host: {HOST}", cookie, *browser) for part in ("-H", line)]
    command = [_tool("wrk"), "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "--timeout", "20s", *headers]
    if fresh:
        command += ["-s", str(Path(__file__).with_name("fresh.lua"))]
    done = subprocess.run(
        ["taskset", "-c", str(_OTHER_CPU), *command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True
    )
    return parse(done.stdout)


def parse(report: str) -> Measured:
    """What wrk printed; RuntimeError when an answer failed or was no success: such a round measures something else."""
    if failed := re.search(r"Non-2xx.*|Socket errors.*", report):
        raise RuntimeError(f"wrk: {failed[0]}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", report)
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)\b", report)
    if rate is None or median is None or float(rate[1]) == 0:
        raise RuntimeError(f"wrk measured nothing: {report}")
    return Measured(float(rate[1]), float(median[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[median[2]])


@contextmanager
def _agent(backend: int) -> Iterator[int]:
    """The agent's preview port, as in a pod, before the same server."""
    port = _free_port()
    ours = [sys.executable, "-m", "tests.bench.agent_preview_server", str(port), str(backend)]
    with _running(ours, port, _PROXY_CPU):
        yield port


def _nginx(folder: Path, servers: str, port: int, cpu: int) -> Any:
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, servers=servers))
    return _running([_tool("nginx"), "-p", str(folder), "-c", str(config), "-e", "stderr"], port, cpu)


@contextmanager
def _running(command: list[str], port: int, cpu: int, **environment: str) -> Iterator[None]:
    process = subprocess.Popen(["taskset", "-c", str(cpu), *command], env=os.environ | environment)
    try:
        _await(process, port)
        yield
    finally:
        process.terminate()
        process.wait(20)


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not listen on {port}")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _tool(name: str) -> str:
    found = os.environ.get(f"BENCH_{name.upper()}") or shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        packages.ensure([name])
        return _tool(name)
    return found


if __name__ == "__main__":
    print(*measure(), sep="\n")
