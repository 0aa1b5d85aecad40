"""The agent's end of the loopback connection to the launcher. What arrives is written by untrusted code: bounded, or cut off.

One launcher at a time: while one is connected, the app cannot pose as another. Commands survive the agent: a launcher that comes
back says what it still runs, and the run goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner_agent import doorkeeper, frames
from runner_agent.frames import Ending, Exited, FrameError, Hello, Kind, Started, Usage
from runner_agent.logs import LogBook
from sandbox_protocol.wire import Stream

log = logging.getLogger(__name__)
_HELLO_SECONDS = 5.0
_PLACES = doorkeeper.Places(own_pod=4)
"""One launcher, and some that are being told that there is one."""
_READ_BYTES = 1 << 18
USAGE_SECONDS = 0.25
"""An app that takes all of its processors keeps the launcher waiting, and nobody who asks for the status."""
OWN_WORDS = "agent"
"""The log's name for what no process says."""
_STREAMS: dict[Kind, Stream] = {Kind.STDOUT: "stdout", Kind.STDERR: "stderr", Kind.SYSTEM: "system"}


@dataclass(eq=False, slots=True)
class Run:
    """A command in the app container. ``exited`` is set once nothing of it is left, or once its container is gone."""

    id: int
    label: str
    pid: int | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)
    exited: asyncio.Future[Exited] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def has_started(self, pid: int) -> None:
        self.pid = pid
        self.started.set()


class Link:
    """``start`` before anything else. ``connected`` is set while a launcher is there that takes commands."""

    def __init__(self, logbook: LogBook, port: int, labels: frozenset[str]) -> None:
        """``labels``: names that a run may have in the log, whatever a launcher says."""
        self.connected = asyncio.Event()
        self.on_change: Callable[[], None] = lambda: None
        self.isolation: Mapping[str, Any] | None = None
        """Of the app container, in the words of its launcher; None while there is none."""
        self._logbook = logbook
        self._port = port
        self._labels = labels
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._greeted = False
        self._runs: dict[int, Run] = {}
        self._adopted: list[Run] = []
        self._usage: asyncio.Future[int] | None = None
        # anywhere, as a launcher may still hold a run of the agent before
        self._next_id = secrets.randbits(31)

    async def start(self) -> None:
        (door,) = doorkeeper.listen(self._port, _PLACES, "127.0.0.1")
        self._server = await asyncio.start_server(self._serve, sock=door, limit=_READ_BYTES)

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

    def run(
        self, command: Sequence[str], cwd: str, env: Mapping[str, str], label: str, defaults: Mapping[str, str] = frames.NOTHING
    ) -> Run:
        """Start a command; needs ``connected``. One that cannot be started exits at once. ``defaults`` as in `frames.start`."""
        self._next_id = self._next_id % frames.MAX_RUN_ID + 1
        run = Run(self._next_id, label)
        if self._writer is None or not self.connected.is_set():
            run.exited.set_result(Exited(run.id, None, None, "the app container went away"))
        else:
            self._runs[run.id] = run
            self._writer.write(frames.start(run.id, command, cwd, env, label, defaults))
        return run

    def stop(self, run: Run, grace: float) -> None:
        """``run.exited`` tells when it is over. Without a launcher nothing runs any more, or it will be told when it is back."""
        if self._writer is not None and not run.exited.done():
            self._writer.write(frames.stop(run.id, grace))

    def show(self, root: str, paths: Sequence[str]) -> None:
        """Lets the app's watchers see what changed below ``root``. Without a launcher nobody watches."""
        if self._writer is not None:
            for at in range(0, len(paths), frames.SHOWN):
                self._writer.write(frames.show(root, paths[at : at + frames.SHOWN]))

    def adopted(self) -> list[Run]:
        """What launchers ran already when they connected, each told once."""
        adopted, self._adopted = self._adopted, []
        return adopted

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
            self._greeted = False
            self.isolation = None
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
                    if self._greeted:
                        patience.reschedule(None)
                # the launcher never blocks the app, whatever we do; other requests must get their turn, too
                await asyncio.sleep(0)

    def _take(self, kind: Kind, payload: bytes) -> None:
        if kind is Kind.CONTROL:
            self._obey(frames.parse(payload))
        elif not self._greeted:
            raise FrameError("output before hello")
        else:
            run, text = frames.output(payload)
            self._logbook.write(self._writer_of(run), _STREAMS[kind], bytes(text))

    def _writer_of(self, run_id: int) -> str:
        """The process of the log that output of this run belongs to."""
        run = self._runs.get(run_id)
        return run.label if run is not None and run.label in self._labels else OWN_WORDS

    def _obey(self, message: frames.Message) -> None:
        match message:
            case Hello():
                self._greet(message)
            case Started():
                if (run := self._runs.get(message.id)) is not None:
                    run.has_started(message.pid)
                elif self._writer is not None:  # asked for by an agent that did not live to hear of it
                    self._writer.write(frames.stop(message.id, 0))
            case Exited():
                self._end(message)
            case Ending():
                self.connected.clear()
            case Usage():
                if self._usage is not None and not self._usage.done():
                    self._usage.set_result(message.memory_bytes)
                self._usage = None
        self.on_change()

    def _greet(self, message: Hello) -> None:
        running = message.running
        there = {run.id for run in running}
        for gone in self._runs.keys() - there:
            self._end(Exited(gone, None, None, "the app container was restarted"))
        for run in running:
            if run.id not in self._runs:
                self._runs[run.id] = Run(run.id, run.label)
                self._adopted.append(self._runs[run.id])
            if run.pid:
                self._runs[run.id].has_started(run.pid)
        self.isolation = message.isolation
        self._greeted = True
        self.connected.set()

    def _end(self, message: Exited) -> None:
        self._logbook.end_lines(self._writer_of(message.id))
        run = self._runs.pop(message.id, None)
        if run is not None and not run.exited.done():
            run.exited.set_result(message)
