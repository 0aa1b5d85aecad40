"""``exec``: a command in the app's container, with the query and the WebSocket protocol of pods/exec.

We dial the Kubernetes API's own pods/exec with our own credential. Nothing of the request's address is passed on: the pod and its
namespace come from the runner's UID, the container is ``app``, and the query is written anew from what was understood.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import MultiDict

from sandbox_operator.apiserver import frames, relay, request_id, tunnel
from sandbox_operator.apiserver.pods import APP_CONTAINER
from sandbox_operator.apiserver.sessions import CLOSED, Claim
from sandbox_operator.apiserver.verb import Call, Operation, Parameter, Services, Verb, known_parameters
from sandbox_protocol.errors import Cause, StatusError

_LOG = logging.getLogger("sandbox_operator.apiserver.exec")
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
# The launcher's own program: puts the command under the limits of everything that the launcher starts.
ENTER = ("/opt/sandbox/launcher", "enter")
# Of the program's name in the log. The arguments are left out: they hold what people type, passwords too.
_PROGRAM_CHARACTERS = 64
_NAME_CHARACTERS = 256
_FALSE = frozenset({"", "0", "false"})


@dataclass(frozen=True, slots=True)
class Asked:
    """What the query means. ``command`` may hold bytes that are no UTF-8, as surrogates."""

    command: tuple[str, ...]
    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    def query(self) -> list[tuple[str, str]]:
        streams = ((name, getattr(self, name)) for name in ("stdin", "stdout", "stderr", "tty"))
        return [
            ("container", APP_CONTAINER),
            *((name, "true") for name, wanted in streams if wanted),
            *(("command", word) for word in (*ENTER, *self.command)),
        ]


def parse(query: str) -> Asked:
    """The raw query string. StatusError 400 names the parameter that is wrong; pods/exec would say so only after the upgrade."""
    given = MultiDict(parse_qsl(query, keep_blank_values=True, errors="surrogateescape"))
    known_parameters(given, PARAMETERS)
    if any(value != APP_CONTAINER for value in given.getall("container", ())):
        raise _wrong("container", f'only "{APP_CONTAINER}" can be entered')
    command = tuple(given.getall("command", ()))
    if not command or not command[0]:
        raise _wrong("command", "name a program; each further argument is a command parameter of its own")
    if any("\0" in word for word in command):
        raise _wrong("command", "an argument cannot hold a NUL byte")
    flags = {name: given.get(name, "").lower() not in _FALSE for name in ("stdin", "stdout", "stderr", "tty")}
    if not (flags["stdin"] or flags["stdout"] or flags["stderr"]):
        raise _wrong("stdout", "at least one of stdin, stdout and stderr must be true")
    if flags["tty"] and flags["stderr"]:
        raise _wrong("stderr", "a terminal has one output: leave stderr out with tty=true")
    return Asked(command, **flags)


def _wrong(field: str, message: str) -> StatusError:
    return StatusError(400, f"{field}: {message}", causes=[Cause(field, "FieldValueInvalid", message)])


def handshake(request: web.BaseRequest) -> dict[str, str]:
    """The headers of the WebSocket handshake that go on. StatusError 400 says what a client must send instead."""
    upgrade = request.headers.get("Upgrade", "")
    if not tunnel.wants_upgrade(request, methods=("GET", "POST")):
        asked = f'"{upgrade[:40]}"' if upgrade else "no upgrade"
        raise StatusError(
            400, f"exec speaks WebSocket only, and the request asks for {asked}: send Upgrade: websocket with {PROTOCOLS[0]}"
        )
    offered = [word.strip() for word in ",".join(request.headers.getall("Sec-WebSocket-Protocol", ())).split(",")]
    spoken = [protocol for protocol in PROTOCOLS if protocol in offered]
    if not spoken:
        raise StatusError(400, f"Sec-WebSocket-Protocol must offer {' or '.join(PROTOCOLS)}")
    kept = {name: request.headers[name] for name in ("Sec-WebSocket-Key", "Sec-WebSocket-Version") if name in request.headers}
    return {**kept, "Sec-WebSocket-Protocol": ", ".join(spoken)}


async def connect(call: Call, services: Services) -> web.StreamResponse:
    asked = parse(call.request.raw_path.partition("?")[2])
    pod = await services.pods.running(call.runner)
    # last: a client that fell back from WebSocket to SPDY shall hear why the first one failed
    sent = handshake(call.request)
    path, ours = services.pods.exec_request(call.runner, pod, asked.query())
    # the API server's two entries, of the user's request and of ours, can then be read together
    audit = {"Audit-ID": request_id.CURRENT.get()}
    upstream = tunnel.Upstream(services.pods.open, path, {**sent, **audit, **ours}, lambda code, body: _refused(call, code, body))
    claim = Claim(call.user, call.operation.action, call.target, call.runner)
    ending = tunnel.Ending(lambda: services.sessions.must_end(claim), frames.farewell)
    with _told(call, services, asked) as carried:
        await tunnel.splice(call.request, upstream, ending=ending, carried=carried)
    return relay.Finished(101)


def _refused(call: Call, code: int, body: bytes) -> StatusError:
    """pods/exec's own words name our account and the runtime's objects: they go to the log, and their meaning to the caller."""
    _LOG.warning("exec refused", extra={"fields": {**_who(call), "code": code, "told": body[:500].decode("utf-8", "replace")}})
    if code == 403:
        return call.runner.unavailable("the runner's runtime is not provisioned yet")
    if code in {400, 404}:
        return call.runner.unavailable("the runner's pod has just ended, or has not started yet")
    if code == 429:
        return StatusError(429, "the Kubernetes API takes no more requests now; try again", retry_after=1)
    return StatusError(502, f"the Kubernetes API did not start the command (HTTP {code}); the log of this server says why")


def _who(call: Call) -> dict[str, object]:
    return {
        "request": request_id.CURRENT.get(""),
        "user": call.user.name[:_NAME_CHARACTERS],
        "namespace": call.runner.namespace,
        "name": call.runner.name,
        "uid": call.runner.refs.uid,
    }


@contextlib.contextmanager
def _told(call: Call, services: Services, asked: Asked) -> Iterator[tunnel.Carried]:
    """A line when the session begins and one when it ends, whoever ends it."""
    program = asked.command[0].encode("utf-8", "replace").decode()[:_PROGRAM_CHARACTERS]
    what = {"program": program, "arguments": len(asked.command) - 1, "tty": asked.tty, "stdin": asked.stdin}
    _LOG.info("exec begins", extra={"fields": {**_who(call), **what}})
    carried = tunnel.Carried()
    began = time.monotonic()
    try:
        yield carried
    except StatusError as error:
        carried.cause = error.reason
        raise
    finally:
        end = carried.cause or CLOSED
        services.sessions.ended(end)
        seconds = round(time.monotonic() - began, 3)
        counts = {"seconds": seconds, "received": carried.inbound, "sent": carried.outbound, "end": end}
        _LOG.info("exec ends", extra={"fields": {**_who(call), **counts}})


_BOOLEAN: Mapping[str, Any] = {"type": "boolean", "default": False}

PARAMETERS = (
    Parameter(
        "command",
        "The program and its arguments, one parameter each. No shell is involved.",
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        required=True,
    ),
    Parameter("container", 'May be left out; only "app" can be entered.', {"type": "string", "enum": [APP_CONTAINER]}),
    Parameter("stdin", "Pass standard input (channel 0).", {**_BOOLEAN}),
    Parameter("stdout", "Pass standard output (channel 1).", {**_BOOLEAN}),
    Parameter("stderr", "Pass standard error (channel 2).", {**_BOOLEAN}),
    Parameter("tty", "Give the command a terminal; its size comes on channel 4.", {**_BOOLEAN}),
)

VERB = Verb(
    "exec",
    "Exec",
    tuple(
        Operation(
            method,
            # not what the method says: a GET that upgrades runs a program, and who may only read shall not
            "create",
            f"Run a command in the app's container, over a WebSocket ({' or '.join(PROTOCOLS)}).",
            connect,
            parameters=PARAMETERS,
            code=101,
            returns=(),
            refusals=(409, 502),
        )
        for method in ("GET", "POST")
    ),
)
