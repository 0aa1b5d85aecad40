"""One SandboxRunner, as a handle: its life, its files, its process, its preview.

Everything goes through the Kubernetes API as the user who holds the kubeconfig; what that user may not do is refused there.
"""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

from sandbox_client import execution, fetching, logs, syncing, unpacking, waiting
from sandbox_client.api import Api, Query, Request, checked_namespace, json_request, path, path_below
from sandbox_client.batches import Batched
from sandbox_client.errors import ApiError, Forbidden, NeverReady, NotFound, Unavailable, Unreachable, WaitTimeout
from sandbox_client.execution import ExecResult
from sandbox_client.records import (
    FileChange,
    FileContent,
    Language,
    LogRecord,
    Manifest,
    Preview,
    ProcessState,
    ProxyAnswer,
    RunnerStatus,
)
from sandbox_client.syncing import FolderSync
from sandbox_protocol import names
from sandbox_protocol.wire import TAR, DriftMode, RestartMode, Stream, SyncMode, SyncResult

READY_SECONDS = 180.0
"""Pulling an image for the first time is what takes longest."""
APP_SECONDS = 300.0
"""A first dependency install on a slow network."""

_APP_POLL_SECONDS = (0.1, 0.2, 0.3, 0.5, 0.5, 1.0)
_RELIST_SECONDS = 0.5


class Sandbox:
    """Made by :class:`sandbox_client.Client`. ``resource`` is the object as last seen, {} if it was never read. Raises
    InvalidName for a name or namespace that cannot be one."""

    def __init__(self, api: Api, namespace: str, name: str, resource: Mapping[str, Any] | None = None) -> None:
        self._api = api
        self.namespace = checked_namespace(namespace)
        self.name = name
        self.resource: dict[str, Any] = dict(resource or {})
        self._collection = path("apis", names.GROUP, names.VERSION, "namespaces", namespace, names.PLURAL)
        self._object = self._collection + path(name)
        self._verbs = path("apis", names.SUBRESOURCE_GROUP, names.VERSION, "namespaces", namespace, names.PLURAL, name)

    def __repr__(self) -> str:
        return f"<Sandbox {self.namespace}/{self.name}>"

    # its life

    async def refresh(self) -> dict[str, Any]:
        """Reads the object again and returns it. Raises NotFound."""
        self.resource = await self._api.json(Request("GET", self._object))
        return self.resource

    async def delete(self, *, wait: bool = True, timeout: float = READY_SECONDS) -> None:
        """Deletes it with all it owns; nothing happens if it is gone already. Raises WaitTimeout."""
        try:
            dying = await self._api.json(Request("DELETE", self._object))
        except NotFound:
            return
        uid = (dying.get("metadata") or {}).get("uid")  # a Status without one when it is gone at once
        if wait and uid:
            last = "its objects are being removed"
            try:
                async with asyncio.timeout(timeout):
                    async for runner in self._changes():
                        if runner is None or runner["metadata"]["uid"] != uid:  # gone, or made anew under the same name
                            return
                        last = next((item.message for item in waiting.conditions(runner) if item.type == "Ready"), last)
            except TimeoutError:
                raise WaitTimeout(f"{self.namespace}/{self.name} is still being deleted after {timeout:.0f} s: {last}") from None

    async def wait_ready(self, *, condition: str = "Ready", timeout: float = READY_SECONDS) -> None:
        """Returns when ``condition`` is True. Raises NeverReady as soon as waiting is useless, WaitTimeout, NotFound."""
        why = "it was not seen yet"
        try:
            async with asyncio.timeout(timeout):
                async for runner in self._changes():
                    if runner is None:
                        raise NotFound(404, f"sandboxrunner {self.namespace}/{self.name} does not exist")
                    match waiting.judge(runner, condition):
                        case waiting.Ready():
                            return
                        case waiting.Hopeless(found):
                            raise NeverReady(f"{self.namespace}/{self.name}", found.type, found.reason, found.message)
                        case waiting.Waiting(why):
                            continue
        except TimeoutError:
            raise WaitTimeout(f"{self.namespace}/{self.name} is not {condition} after {timeout:.0f} s. {why}") from None

    async def wait_app(self, *, timeout: float = APP_SECONDS) -> RunnerStatus:
        """Returns when the app answers. Raises NeverReady as soon as it is known to need a sync, a restart or another spec: each
        reason of ``sandbox_protocol.reasons``, such as CrashLoop, WrongPort or ImagePullBackOff. WaitTimeout, NotFound.
        """
        why = "the runner has not answered yet"
        polls = iter(_APP_POLL_SECONDS)
        hopeless_before = False
        try:
            async with asyncio.timeout(timeout):
                while True:
                    status: RunnerStatus | None = None
                    try:
                        status = await self.status()
                    except (Unavailable, Unreachable) as error:  # the API server or our apiserver is being rolled out
                        why = str(error)
                    match await self._verdict(status):
                        case waiting.Ready() if status is not None:
                            return status
                        case waiting.Hopeless(found):
                            # told twice in a row: a sync that mends a crash is answered a moment before the app starts anew
                            if hopeless_before:
                                raise NeverReady(f"{self.namespace}/{self.name}", found.type, found.reason, found.message)
                            hopeless_before = True
                        case waiting.Waiting(told):
                            hopeless_before = False
                            why = told if status is not None else why
                    await asyncio.sleep(next(polls, _APP_POLL_SECONDS[-1]))
        except TimeoutError:
            raise WaitTimeout(f"the app of {self.namespace}/{self.name} does not answer after {timeout:.0f} s. {why}") from None

    async def _verdict(self, status: RunnerStatus | None) -> waiting.Verdict:
        """Of the app; without a status, of the runner whose agent cannot be asked."""
        if status is not None and status.process.state != "AwaitingLauncher":
            return waiting.judge_app(status)
        try:
            runner = await self.refresh()
        except (Forbidden, Unavailable, Unreachable) as error:
            return waiting.Waiting(str(error))
        return waiting.judge(runner) if status is None else waiting.judge_container(runner)

    async def suspend(self) -> None:
        """Stops the pod and keeps the files. Returns once that is asked for; ``wait_ready(condition="Suspended")`` waits."""
        await self._patch_spec({"operatingMode": "Suspended"})

    async def resume(self) -> None:
        """Runs it again; ``wait_ready()`` waits."""
        await self._patch_spec({"operatingMode": "Running"})

    async def languages(self) -> tuple[Language, ...]:
        """What the template has images for, as the operator wrote it into the runner's status."""
        status = (await self.refresh()).get("status") or {}
        return tuple(map(Language.from_json, status.get("languages") or ()))

    async def use(self, language: str | None) -> None:
        """Runs the app in the template's image for ``language``, None: in its default image, from now on in place of any
        ``spec.image``. The pod is made anew, the files stay. Returns once that is asked for; ``wait_ready()`` raises NeverReady
        with the languages that there are when this is none of them."""
        await self._patch_spec({"language": language, "image": None})

    # its files

    async def sync(  # noqa: PLR0913 - each one is a word of the verb's contract
        self,
        files: Mapping[str, str | bytes] | None = None,
        *,
        directory: str | Path | None = None,
        delete: Iterable[str] = (),
        mode: SyncMode = "merge",
        restart: RestartMode = "auto",
        if_match: str | None = None,
        drift: DriftMode | None = None,
        include_env: bool = False,
    ) -> SyncResult:
        """Writes ``files`` (path → content), or makes the workspace match a local ``directory``.

        Of a directory only what changed travels, without what git ignores and what :mod:`sandbox_client.leaving_out` names.
        ``mode="mirror"`` also deletes files of earlier syncs that are not there any more. ``if_match`` is the revision that the
        caller built on. What the pod changed and the caller did not is kept and told as ``drifted`` (``drift="keep"``, default of
        a directory) or written again (``"overwrite"``, default of files). ``include_env`` takes ``.env`` and the like.
        Raises Stale when it is another revision now, Invalid (the causes name paths), TooLarge, LocalFileError.
        """
        if (files is None) == (directory is None):
            raise ValueError("give either files or a directory")
        if directory is not None:
            options = syncing.Options(mode, restart, tuple(delete), if_match, drift or "keep")
            done = await self._sync_folder(Path(directory), options, include_env=include_env)
            assert done.result is not None
            return done.result
        options = syncing.Options(mode, restart, tuple(delete), if_match, drift or "overwrite")
        return await syncing.files(self._api, f"{self._verbs}/sync", files or {}, options)

    async def sync_folder(  # noqa: PLR0913 - as sync
        self,
        directory: str | Path,
        *,
        mode: SyncMode = "merge",
        restart: RestartMode = "auto",
        drift: DriftMode = "keep",
        include_env: bool = False,
        dry_run: bool = False,
    ) -> FolderSync:
        """As ``sync(directory=…)``, and tells what travelled and what stayed out; ``dry_run`` only tells what would."""
        options = syncing.Options(mode, restart, drift=drift)
        return await self._sync_folder(Path(directory), options, include_env=include_env, dry_run=dry_run)

    async def _sync_folder(self, root: Path, options: syncing.Options, **how: bool) -> FolderSync:
        return await syncing.directory(self._api, f"{self._verbs}/sync", root, options, **how)

    async def manifest(self) -> Manifest:
        """What syncs have written, with the revision that ``if_match`` wants."""
        return await syncing.manifest(self._api, f"{self._verbs}/sync")

    async def read(self, *paths: str) -> dict[str, bytes]:
        """Contents of workspace files, by path; a folder stands for the files below it, no path for everything. In memory."""
        query = [("path", item) for item in paths]
        async with self._api.open(Request("GET", f"{self._verbs}/sync", query, {"Accept": TAR})) as answer:
            data = await answer.read()
        try:
            with unpacking.opened(io.BytesIO(data)) as tar:
                return {item.name: content.read() for item in tar if item.isreg() and (content := tar.extractfile(item))}
        except tarfile.TarError as error:
            raise Unreachable(f"the answer of {self.namespace}/{self.name} cannot be read: {error}") from error

    async def read_file(self, path: str, *, start: int = 0, end: int | None = None) -> FileContent:
        """One file as it is now, or its bytes from ``start`` up to ``end``; links inside the workspace are followed. Raises
        NotFound, Invalid (a folder, or a link that leads out), TooLarge."""
        return await fetching.file(self._api, f"{self._verbs}/sync", path, start, end)

    async def export(self, target: str | Path, *paths: str) -> list[str]:
        """Unpacks the workspace, or ``paths`` of it, into a local folder, and returns what was written.

        What the app made comes too, such as a lock file; what ``.sandboxignore`` names and ``node_modules`` only if ``paths`` ask
        for it. Local files of the same names are replaced, others stay; links that would lead out of the folder are left out.
        """
        return await fetching.export(self._api, f"{self._verbs}/sync", paths, Path(target))

    def watch_files(self, *, cursor: str = "") -> AsyncGenerator[FileChange, None]:
        """What changes in the workspace, from now on or after ``cursor``, until the caller stops. Begins with RESYNC unless a
        cursor is given; so does every gap. Ignored files and ``node_modules`` are not watched."""
        return fetching.changes(self._api, f"{self._verbs}/sync", cursor)

    # its process

    async def status(self) -> RunnerStatus:
        """What the app does now, asked of the agent beside it."""
        return RunnerStatus.from_json(await self._api.json(Request("GET", f"{self._verbs}/status")))

    async def restart(self, *, process: str | None = None, grace_period_seconds: int | None = None) -> ProcessState:
        """Stops all processes, or the named one, with everything they started, and starts them again.

        Returns the state of that process, or of ``web``. Raises NotFound for a name that the runner does not have.
        """
        asked = {"process": process, "gracePeriodSeconds": grace_period_seconds}
        body = {key: value for key, value in asked.items() if value is not None}
        return ProcessState.from_json(await self._api.json(json_request("POST", f"{self._verbs}/restart", body)))

    def logs(  # noqa: PLR0913 - the query parameters of pods/log, by their names
        self,
        *,
        follow: bool = False,
        tail_lines: int | None = None,
        since_seconds: int | None = None,
        since_time: datetime | None = None,
        timestamps: bool = False,
        limit_bytes: int | None = None,
        previous: bool = False,
        stream: Stream | None = None,
        process: str | None = None,
    ) -> Batched[str]:
        """Lines without their end. ``follow`` goes on until the caller stops or the connection ends."""
        query = logs.Query(follow, tail_lines, since_seconds, since_time, timestamps, limit_bytes, previous, stream, process)
        return Batched(logs.lines(self._api, f"{self._verbs}/log", query))

    def log_records(  # noqa: PLR0913 - the query parameters of pods/log, by their names
        self,
        *,
        follow: bool = False,
        tail_lines: int | None = None,
        since_seconds: int | None = None,
        since_time: datetime | None = None,
        limit_bytes: int | None = None,
        previous: bool = False,
        stream: Stream | None = None,
        process: str | None = None,
        cursor: str | None = None,
    ) -> Batched[LogRecord]:
        """Lines with process, stream, time and cursor. ``follow`` outlives broken connections, agents and pods: it goes on after
        the last line that it gave out, until the caller stops. Raises ApiError 410 for a cursor of another log; what raised when
        it could not be connected again for two minutes; Unreachable when what is not followed ends within a line."""
        query = logs.Query(follow, tail_lines, since_seconds, since_time, False, limit_bytes, previous, stream, process, cursor)
        return Batched(logs.records(self._api, f"{self._verbs}/log", query))

    async def exec(self, *command: str, stdin: bytes | None = None) -> ExecResult:
        """Runs a program (no shell) in the app's container, in the workspace, and waits for its end; all output in memory."""
        return await execution.run(self._api, f"{self._verbs}/exec", command, stdin)

    def exec_session(
        self, *command: str, stdin: bool = False, tty: bool = False
    ) -> AbstractAsyncContextManager[execution.ExecSession]:
        """The same while it runs: write to it, read pieces as they come, give it a terminal. Leaving the context hangs up."""
        return execution.opened(self._api, f"{self._verbs}/exec", command, stdin=stdin, tty=tty)

    # its preview

    async def preview(
        self, *, port: int | None = None, expiration_seconds: int | None = None, reload: bool | None = None
    ) -> Preview:
        """A signed URL that shows the app in a browser. With ``reload`` its pages load anew after a sync, where the app's own
        tools do not see to that."""
        asked = {"port": port, "expirationSeconds": expiration_seconds, "reload": reload}
        body = {"spec": {key: value for key, value in asked.items() if value is not None}}
        return Preview.from_json(await self._api.json(json_request("POST", f"{self._verbs}/preview", body)))

    async def revoke_previews(self) -> None:
        """Ends every preview of this runner at once, whoever holds its URL."""
        await self._api.json(Request("DELETE", f"{self._verbs}/preview"))

    async def proxy(
        self,
        method: str = "GET",
        target: str = "/",
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> ProxyAnswer:
        """One request to the app through the API server, for programs; browsers use the preview. Raises ApiError when it is not
        the app that answered (403, 404 of the runner itself, …)."""
        request = Request(method, f"{self._verbs}/proxy{path_below(target)}", query, dict(headers or {}), body)
        answer = await self._api.exchange(request)
        try:
            content = await answer.read()
        finally:
            answer.release()
        if answer.status >= 400 and _is_status(content):
            raise ApiError.from_body(answer.status, json.loads(content))
        return ProxyAnswer(answer.status, {key.lower(): value for key, value in answer.headers.items()}, content)

    async def _patch_spec(self, spec: Mapping[str, Any]) -> None:
        request = json_request("PATCH", self._object, {"spec": spec}, content_type="application/merge-patch+json")
        self.resource = await self._api.json(request)

    async def _changes(self) -> AsyncIterator[dict[str, Any] | None]:
        """The object now and after each change; None when it is gone. Endless: a watch that ends or is too old begins anew."""
        while True:
            try:
                runner: dict[str, Any] | None = await self.refresh()
            except NotFound:
                runner = None
            yield runner
            if runner is not None:
                version = runner["metadata"]["resourceVersion"]
                selector = [("fieldSelector", f"metadata.name={self.name}")]
                try:
                    async for event, seen in self._api.watch(self._collection, query=selector, resource_version=version):
                        self.resource = seen
                        yield None if event == "DELETED" else seen
                except ApiError as error:
                    if error.code != 410:
                        raise
                except Unreachable:
                    pass  # the GET that follows tells whether the API server is really away
            await asyncio.sleep(_RELIST_SECONDS)


def _is_status(content: bytes) -> bool:
    try:
        body = json.loads(content)
    except ValueError:
        return False
    return isinstance(body, dict) and body.get("kind") == "Status" and body.get("apiVersion") == "v1"
