"""The SDK without ``await``: the same names, arguments, results and errors. One event loop in a background thread does the work.

Nothing is written twice: each method is the asynchronous one, run over there. For scripts, notebooks and command lines; inside a
running event loop use :mod:`sandbox_client` itself.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Concatenate, ParamSpec, Self, TypeVar, cast

from sandbox_client import client as _client
from sandbox_client import execution, kubeconfig
from sandbox_client import sandbox as _sandbox
from sandbox_client.batches import Batched
from sandbox_client.impersonation import Impersonation
from sandbox_client.kubeconfig import Connection

P = ParamSpec("P")
R = TypeVar("R")


class _Loop:
    """An event loop in a daemon thread, begun when first needed and shared by all clients of the process."""

    _lock = threading.Lock()
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None
    _ending: ClassVar[set[asyncio.Task[None]]] = set()

    @classmethod
    def run(cls, work: Coroutine[Any, Any, R]) -> R:
        with cls._lock:
            if cls._loop is None:
                cls._loop = asyncio.new_event_loop()
                cls._thread = threading.Thread(target=cls._loop.run_forever, name="sandbox-client", daemon=True)
                cls._thread.start()
        future = asyncio.run_coroutine_threadsafe(work, cls._loop)
        try:
            return future.result()
        except BaseException:  # KeyboardInterrupt reaches this thread only: the request must not go on alone
            future.cancel()
            raise

    @classmethod
    def finish(cls, work: Coroutine[Any, Any, None]) -> None:
        """As ``run``, from any thread: an iterator that was left unfinished is ended by whoever collects garbage, the loop's own
        thread too, and that one would wait for itself."""
        if cls._loop is None or threading.current_thread() is not cls._thread:
            return cls.run(work)
        task = cls._loop.create_task(work)
        cls._ending.add(task)
        task.add_done_callback(cls._ending.discard)
        return None


def _shell(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[Any, P], R]:
    @functools.wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return _Loop.run(method(self._inner, *args, **kwargs))

    return call


def _iterating(
    method: Callable[Concatenate[Any, P], AsyncIterator[R]],
) -> Callable[Concatenate[Any, P], Generator[R, None, None]]:
    @functools.wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Generator[R, None, None]:
        source = method(self._inner, *args, **kwargs)

        async def step() -> Sequence[R]:
            """As much as comes at once: the way here and back takes as long as a dozen log records. () at the end."""
            if isinstance(source, Batched):
                async for batch in source.batches:
                    return cast("Sequence[R]", batch)
            else:
                async for item in source:
                    return (item,)
            return ()

        async def end() -> None:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()

        try:
            while found := _Loop.run(step()):
                yield from found
        finally:
            _Loop.finish(end())

    return call


def _giving_sandbox(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, _sandbox.Sandbox]],
) -> Callable[Concatenate[Any, P], Sandbox]:
    @functools.wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Sandbox:
        return Sandbox(_Loop.run(method(self._inner, *args, **kwargs)))

    return call


async def _entered(context: AbstractAsyncContextManager[R]) -> R:
    return await context.__aenter__()


async def _left(context: AbstractAsyncContextManager[Any]) -> None:
    await context.__aexit__(None, None, None)


class ExecSession:
    """See :class:`sandbox_client.ExecSession`."""

    def __init__(self, inner: execution.ExecSession) -> None:
        self._inner = inner

    @property
    def exit_code(self) -> int | None:
        return self._inner.exit_code

    write = _shell(execution.ExecSession.write)
    close_stdin = _shell(execution.ExecSession.close_stdin)
    resize = _shell(execution.ExecSession.resize)
    output = _iterating(execution.ExecSession.output)


class Sandbox:
    """See :class:`sandbox_client.Sandbox`."""

    def __init__(self, inner: _sandbox.Sandbox) -> None:
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def namespace(self) -> str:
        return self._inner.namespace

    @property
    def resource(self) -> dict[str, Any]:
        return self._inner.resource

    refresh = _shell(_sandbox.Sandbox.refresh)
    delete = _shell(_sandbox.Sandbox.delete)
    wait_ready = _shell(_sandbox.Sandbox.wait_ready)
    wait_app = _shell(_sandbox.Sandbox.wait_app)
    suspend = _shell(_sandbox.Sandbox.suspend)
    resume = _shell(_sandbox.Sandbox.resume)
    languages = _shell(_sandbox.Sandbox.languages)
    use = _shell(_sandbox.Sandbox.use)
    sync = _shell(_sandbox.Sandbox.sync)
    sync_folder = _shell(_sandbox.Sandbox.sync_folder)
    manifest = _shell(_sandbox.Sandbox.manifest)
    read = _shell(_sandbox.Sandbox.read)
    read_file = _shell(_sandbox.Sandbox.read_file)
    export = _shell(_sandbox.Sandbox.export)
    watch_files = _iterating(_sandbox.Sandbox.watch_files)
    status = _shell(_sandbox.Sandbox.status)
    restart = _shell(_sandbox.Sandbox.restart)
    exec = _shell(_sandbox.Sandbox.exec)

    @contextmanager
    def exec_session(self, *command: str, stdin: bool = False, tty: bool = False) -> Iterator[ExecSession]:
        opened = self._inner.exec_session(*command, stdin=stdin, tty=tty)
        session = _Loop.run(_entered(opened))
        try:
            yield ExecSession(session)
        finally:
            _Loop.run(_left(opened))

    logs = _iterating(_sandbox.Sandbox.logs)
    log_records = _iterating(_sandbox.Sandbox.log_records)
    preview = _shell(_sandbox.Sandbox.preview)
    revoke_previews = _shell(_sandbox.Sandbox.revoke_previews)
    proxy = _shell(_sandbox.Sandbox.proxy)


class Client:
    """See :class:`sandbox_client.Client`; use as ``with``."""

    def __init__(self, connection: Connection, *, namespace: str | None = None) -> None:
        async def made() -> _client.Client:  # its locks and sockets belong to the loop over there
            return _client.Client(connection, namespace=namespace)

        self._inner = _Loop.run(made())

    @classmethod
    def from_kubeconfig(
        cls,
        file: str | Path | None = None,
        *,
        context: str | None = None,
        namespace: str | None = None,
        impersonate: Impersonation | None = None,
    ) -> Self:
        return cls(kubeconfig.load(file, context=context, impersonate=impersonate), namespace=namespace)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def namespace(self) -> str:
        return self._inner.namespace

    def sandbox(self, name: str, *, namespace: str | None = None) -> Sandbox:
        return Sandbox(self._inner.sandbox(name, namespace=namespace))

    def list(self, *, namespace: str | None = None, all_namespaces: bool = False) -> list[Sandbox]:
        found = _Loop.run(self._inner.list(namespace=namespace, all_namespaces=all_namespaces))
        return [Sandbox(inner) for inner in found]

    close = _shell(_client.Client.close)
    get = _giving_sandbox(_client.Client.get)
    create = _giving_sandbox(_client.Client.create)
    apply = _giving_sandbox(_client.Client.apply)
    apply_manifest = _giving_sandbox(_client.Client.apply_manifest)
