"""What a runner's agent says about its app. For display and for idleness only: the pod is untrusted, and so is all it says."""

from __future__ import annotations

import base64
import re
import ssl
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from sandbox_operator.controller import disk
from sandbox_operator.controller.clock import parse_time
from sandbox_operator.controller.isolation import UNKNOWN, Isolation
from sandbox_operator.controller.pods import Why
from sandbox_operator.kube import errors
from sandbox_operator.kube.target import RuntimeTarget
from sandbox_protocol import measurement, names
from sandbox_protocol.refs import Refs

# A status is a few kilobytes; more is not read.
_BYTES = 256 * 1024
_SECONDS = 5.0
# TLS contexts kept, about 30 kB each.
_KEPT = 2048
_REASON = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")
_REVISION = re.compile(r"[0-9]{1,18}-[0-9a-f]{16}")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,4096}")
_MESSAGE_CHARACTERS = 500
_LINE_CHARACTERS = 200
# web and eight more (CRD).
_PROCESSES = 9
# Of a message the lines stay; what else moves a terminal's cursor does not.
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]+")
_PROCESS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class ProcessView:
    """One process in a line of the status."""

    name: str
    state: str
    ready: bool
    port: int | None
    restarts: int
    message: str

    def to_json(self) -> dict[str, Any]:
        port = {} if self.port is None else {"port": self.port}
        shown = {"name": self.name, "state": self.state, "ready": self.ready, "restarts": self.restarts, "message": self.message}
        return {**shown, **port}


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """``app`` is None while the app answers, ``fine`` says where. Times are never later than when they were received."""

    app: Why | None
    revision: str
    processes: tuple[ProcessView, ...]
    last_activity: datetime | None
    isolation: Isolation = UNKNOWN
    disk: disk.Disk | None = None
    fine: str = ""


class Agents:
    """Asks agents over TLS pinned to the certificate of the runner's own Secret."""

    def __init__(self, target: RuntimeTarget, session: aiohttp.ClientSession) -> None:
        self._target = target
        self._session = session
        self._known: OrderedDict[str, tuple[str, ssl.SSLContext]] = OrderedDict()

    async def status(self, refs: Refs) -> AgentStatus | None:
        """None when the agent cannot be asked right now; why does not matter, its pod tells."""
        try:
            return await self._ask(refs)
        except (errors.ApiError, aiohttp.ClientError, TimeoutError, ValueError, KeyError, ssl.SSLError):
            self._known.pop(refs.uid, None)
            return None

    async def _ask(self, refs: Refs) -> AgentStatus:
        token, tls = await self._credentials(refs)
        host, port = self._target.control_address(refs)
        async with self._session.get(
            URL.build(scheme="https", host=host, port=port, path="/v1/status"),
            headers={"Authorization": f"Bearer {token}"},
            ssl=tls,
            server_hostname=refs.control_host,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=_SECONDS),
        ) as response:
            if response.status != 200:
                raise ValueError(f"HTTP {response.status}")
            content = await response.content.read(_BYTES)
            while not response.content.at_eof() and len(content) < _BYTES:
                content += await response.content.read(_BYTES - len(content))
        return parse(msgspec.json.decode(content), datetime.now(UTC))

    async def _credentials(self, refs: Refs) -> tuple[str, ssl.SSLContext]:
        if refs.uid not in self._known:
            data = (await self._target.control_secret(refs))["data"]
            token = base64.b64decode(data[names.SECRET_TOKEN]).decode("ascii")
            if not _TOKEN.fullmatch(token):
                raise ValueError("the token cannot be sent in a header")
            certificates = [data[key] for key in (names.SECRET_TLS_CERT, names.SECRET_PREVIOUS_CERT) if key in data]
            tls = ssl.create_default_context(cadata="\n".join(base64.b64decode(pem).decode("ascii") for pem in certificates))
            self._known[refs.uid] = token, tls
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(refs.uid)
        return self._known[refs.uid]


def parse(answer: Any, now: datetime) -> AgentStatus:
    """Whatever the agent answered, reduced to well-formed parts; what is not well formed is left out."""
    answer = answer if isinstance(answer, dict) else {}
    conditions = answer.get("conditions")
    app = (
        next(
            (entry for entry in conditions if isinstance(entry, dict) and entry.get("type") == "AppReady"),
            {},
        )
        if isinstance(conditions, list)
        else {}
    )
    revision = answer.get("revision")
    activity = parse_time(answer["lastActivity"]) if isinstance(answer.get("lastActivity"), str) else None
    return AgentStatus(
        app=None if app.get("status") == "True" else _why(app),
        revision=revision if isinstance(revision, str) and _REVISION.fullmatch(revision) else "",
        processes=tuple(_processes(answer.get("processes"))),
        last_activity=None if activity is None else min(activity, now),
        isolation=_isolation(answer.get("isolation")),
        disk=disk.parse(answer.get("usage")),
        fine=_message(app) if app.get("status") == "True" else "",
    )


def _isolation(said: Any) -> Isolation:
    said = said if isinstance(said, dict) else {}
    return Isolation(measurement.checked(said.get("agent")), measurement.checked(said.get("app")))


def _processes(said: Any) -> Iterator[ProcessView]:
    """Each name once, as the API server wants it of this list."""
    seen: set[str] = set()
    for entry in said[:_PROCESSES] if isinstance(said, list) else ():
        name, state, port = (entry.get(field) for field in ("name", "state", "port")) if isinstance(entry, dict) else (None,) * 3
        if not (isinstance(name, str) and _PROCESS_NAME.fullmatch(name) and name not in seen):
            continue
        if not (isinstance(state, str) and _REASON.fullmatch(state)):
            continue
        seen.add(name)
        message, restarts = entry.get("message"), entry.get("restarts")
        yield ProcessView(
            name=name,
            state=state,
            ready=entry.get("ready") is True,
            port=port if type(port) is int and 0 < port < 65536 else None,
            restarts=restarts if type(restarts) is int and 0 <= restarts < 1 << 31 else 0,
            message=_CONTROL.sub(" ", message.partition("\n")[0][:_LINE_CHARACTERS]) if isinstance(message, str) else "",
        )


def _why(condition: dict[str, Any]) -> Why:
    reason = condition.get("reason")
    return Why(
        reason if isinstance(reason, str) and _REASON.fullmatch(reason) else "NotReady",
        _message(condition) or "The app does not answer yet.",
    )


def _message(condition: dict[str, Any]) -> str:
    message = condition.get("message")
    return _CONTROL.sub(" ", message[:_MESSAGE_CHARACTERS]) if isinstance(message, str) else ""
