"""The agent's end of the loopback connection to the launcher. What arrives is written by untrusted code: bounded, or cut off.

One launcher at a time: while one is connected, the app cannot pose as another. Commands survive the agent: a launcher that comes
back says what it still runs, and the run goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from runner_agent import frames
from runner_agent.frames import Exited, FrameError, Hello, Kind, RunningRun, Started, Usage
from runner_agent.logs import LogBook

log = logging.getLogger(__name__)
_HELLO_SECONDS = 5.0
_READ_BYTES = 1 << 18
USAGE_SECONDS = 1.0


@dataclass(eq=False, slots=True)
class Run:
    """A command in the app container. ``exited`` is set once nothing of it is left, or once its container is gone."""

    id: int
    label: str
    pid: int | None = None
    exited: asyncio.Future[Exited] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Link:
    """``start`` before anything else. ``connected`` is set while a launcher is there."""

    def __init__(self, logbook: LogBook, port: int) -> None:
        self.connected = asyncio.Event()
        self.adopted: Run | None = None
        """What a launcher was already running when it first connected to this agent."""
        self.on_change: Callable[[], None] = lambda: None
        self._logbook = logbook
        self._port = port
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._run: Run | None = None
        self._usage: asyncio.Future[int] | None = None
        # unique beyond this process: a launcher may still hold a run of the agent before
        self._next_id = time.time_ns() // 1_000_000

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, limit=_READ_BYTES)

    @property
    def port(self) -> int:
        """Where it listens: another one than asked for only if that was 0."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Lets go of the launcher; what it runs goes on."""
        if self._server is not None:
            self._server.close()
        if self._writer is not None:
            self._writer.close()
        if self._server is not None:
            await self._server.wait_closed()

    def run(self, command: Sequence[str], cwd: str, env: Mapping[str, str], label: str) -> Run:
        """Start a command; needs ``connected`` and no other run. A command that cannot be started exits at once."""
        assert self._run is None or self._run.exited.done()
        self._next_id += 1
        run = Run(self._next_id, label)
        if self._writer is None:
            run.exited.set_result(Exited(run.id, None, None, "the app container went away"))
        else:
            self._run = run
            self._writer.write(frames.start(run.id, command, cwd, env, label))
        return run

    def stop(self, run: Run, grace: float) -> None:
        """``run.exited`` tells when it is over. Without a launcher nothing runs any more, or it will be told when it is back."""
        if self._writer is not None and not run.exited.done():
            self._writer.write(frames.stop(run.id, grace))

    async def memory_bytes(self) -> int | None:
        """Of the app container; None when the launcher does not say in time."""
        if self._writer is None:
            return None
        if self._usage is None:
            self._usage = asyncio.get_running_loop().create_future()
            self._writer.write(frames.usage())
        try:
            return await asyncio.wait_for(asyncio.shield(self._usage), USAGE_SECONDS)
        except TimeoutError:
            return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._writer is not None:
            writer.close()
            return
        self._writer = writer
        try:
            await self._speak(reader)
        except (FrameError, OSError, TimeoutError) as error:
            log.warning("the launcher's connection ends: %s", error or type(error).__name__)
        finally:
            self._writer = None
            self._usage = None
            self.connected.clear()
            self.on_change()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _speak(self, reader: asyncio.StreamReader) -> None:
        decoder = frames.Decoder()
        async with asyncio.timeout(_HELLO_SECONDS) as patience:
            while data := await reader.read(_READ_BYTES):
                for kind, payload in decoder.feed(data):
                    self._take(kind, payload)
                    if self.connected.is_set():
                        patience.reschedule(None)
                # the launcher never blocks the app, whatever we do; other requests must get their turn, too
                await asyncio.sleep(0)

    def _take(self, kind: Kind, payload: bytes) -> None:
        if kind is Kind.CONTROL:
            self._obey(frames.parse(payload))
        elif not self.connected.is_set():
            raise FrameError("output before hello")
        elif kind is Kind.STDOUT:
            self._logbook.write("stdout", payload)
        elif kind is Kind.STDERR:
            self._logbook.write("stderr", payload)
        else:
            self._logbook.write("system", payload)

    def _obey(self, message: frames.Message) -> None:
        match message:
            case Hello():
                self._greet(message.running)
            case Started():
                if self._run is not None and self._run.id == message.id:
                    self._run.pid = message.pid
            case Exited():
                self._logbook.end_lines()
                self._end(message)
            case Usage():
                if self._usage is not None and not self._usage.done():
                    self._usage.set_result(message.memory_bytes)
                self._usage = None
        self.on_change()

    def _greet(self, running: RunningRun | None) -> None:
        known = self._run if self._run is not None and not self._run.exited.done() else None
        if known is not None and (running is None or running.id != known.id):
            self._end(Exited(known.id, None, None, "the app container was restarted"))
            known = None
        if known is None and running is not None:
            known = self._run = self.adopted = Run(running.id, running.label, running.pid)
        if known is not None and running is not None:
            known.pid = running.pid
        self.connected.set()

    def _end(self, message: Exited) -> None:
        if self._run is not None and self._run.id == message.id and not self._run.exited.done():
            self._run.exited.set_result(message)
