"""A person's terminal, or a pipe, at one end of an :class:`ExecSession`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from typing import TextIO

from sandbox_client.execution import ExecSession, OutputStream
from sandbox_client.printing import Stream

_PIECE = 32 * 1024
_OUT: dict[OutputStream, Callable[[], TextIO]] = {"stdout": lambda: sys.stdout, "stderr": lambda: sys.stderr}


async def attach(session: ExecSession, *, stdin: bool, terminal: bool) -> int:
    """Until the command ends; its exit code. With ``terminal`` ours is raw meanwhile, in both directions: every key, Ctrl-C too,
    goes to the command, and what it writes draws on our screen. Without, a terminal gets its output cleaned."""
    with _raw() if terminal else contextlib.nullcontext(), _sizes(session) if terminal else contextlib.nullcontext():
        if stdin:
            # a thread, because a file cannot be polled; a daemon, because nothing ends a read of a terminal
            loop = asyncio.get_running_loop()
            threading.Thread(target=_pump, args=(session, loop, terminal), daemon=True).start()
        shown = {} if terminal else {name: Stream() for name, out in _OUT.items() if out().isatty()}
        async for stream, data in session.output():
            out = _OUT[stream]().buffer
            out.write(shown[stream].show(data).encode() if stream in shown else data)
            out.flush()
        for stream, left in shown.items():
            _OUT[stream]().buffer.write(left.end().encode())
            _OUT[stream]().buffer.flush()
    assert session.exit_code is not None
    return session.exit_code


def _pump(session: ExecSession, loop: asyncio.AbstractEventLoop, terminal: bool) -> None:
    """Waits for each piece to be sent before it reads the next one."""
    data = b"-"
    while data:
        try:
            data = os.read(sys.stdin.fileno(), _PIECE)
        except OSError:
            data = b""
        if not data and terminal:
            return  # a terminal that is gone has not said "end of file" to the command
        sending = session.write(data) if data else session.close_stdin()
        try:
            asyncio.run_coroutine_threadsafe(sending, loop).result()
        except (RuntimeError, asyncio.CancelledError):  # the command has ended
            sending.close()
            return


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _sizes(session: ExecSession) -> Iterator[None]:
    """Tells the command the size of the terminal, now and whenever it changes."""
    loop = asyncio.get_running_loop()
    telling: set[asyncio.Task[None]] = set()

    def tell() -> None:
        size = os.get_terminal_size(sys.stdin.fileno())
        task = loop.create_task(session.resize(size.columns, size.lines))
        telling.add(task)
        task.add_done_callback(telling.discard)

    loop.add_signal_handler(signal.SIGWINCH, tell)
    tell()
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
