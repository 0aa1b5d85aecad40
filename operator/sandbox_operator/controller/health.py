"""``/healthz``, ``/readyz`` and ``/metrics`` of the controller. A standby is ready: it is what a rollout waits for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

PORT = 8081


@dataclass(slots=True)
class Counters:
    """Metric names and labels are fixed, so that their number never grows with the cluster."""

    reconciles: dict[str, int] = field(default_factory=lambda: {"success": 0, "retry": 0, "error": 0})
    leader: bool = False
    synced: bool = False


def application(counters: Counters, runners: Callable[[], int], queued: Callable[[], int]) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        if counters.leader and not counters.synced:
            return web.Response(status=503, text="leads, and is still reading what there is\n")
        return web.Response(text="leads\n" if counters.leader else "stands by\n")

    async def metrics(_: web.Request) -> web.Response:
        lines = [
            "# TYPE sandbox_controller_leader gauge",
            f"sandbox_controller_leader {int(counters.leader)}",
            "# TYPE sandbox_controller_runners gauge",
            f"sandbox_controller_runners {runners()}",
            "# TYPE sandbox_controller_queue_length gauge",
            f"sandbox_controller_queue_length {queued()}",
            "# TYPE sandbox_controller_reconciles_total counter",
            *(f'sandbox_controller_reconciles_total{{result="{name}"}} {count}' for name, count in counters.reconciles.items()),
        ]
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain", charset="utf-8")

    made = web.Application()
    made.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return made


async def serve(app: web.Application, port: int = PORT) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
