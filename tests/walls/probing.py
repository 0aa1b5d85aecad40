"""Packets from inside a pod: many targets at once, TCP and UDP, and what came back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tests.walls.frame import Outcome, stopped, through


class Target(NamedTuple):
    protocol: str  # tcp or udp
    host: str
    port: int


_SCRIPT = """
import errno, json, select, socket, sys, time

# A question that DNS servers answer and echo servers repeat.
QUESTION = bytes.fromhex("12340100000100000000000006") + b"public\\x07example\\x04test\\x00" + bytes.fromhex("00010001")
WORDS = {0: "open", errno.ECONNREFUSED: "refused by the target", errno.ETIMEDOUT: "silence"}
results, waiting = {}, {}
poll = select.poll()
for protocol, host, port in json.loads(sys.argv[1]):
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    key = f"{protocol} {host} {port}"
    try:
        dialled = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        dialled.setblocking(False)
        code = dialled.connect_ex((host, port))
        if protocol == "udp" and code == 0:
            dialled.send(QUESTION)
        elif code != errno.EINPROGRESS:
            results[key] = WORDS.get(code) or errno.errorcode[code]
            continue
    except OSError as error:
        results[key] = errno.errorcode[error.errno]
        continue
    waiting[dialled.fileno()] = key, protocol, dialled
    poll.register(dialled, select.POLLOUT if protocol == "tcp" else select.POLLIN)
    results[key] = "silence"
end = time.monotonic() + float(sys.argv[2])
while waiting and (left := end - time.monotonic()) > 0:
    for descriptor, _ in poll.poll(left * 1000):
        key, protocol, dialled = waiting.pop(descriptor)
        poll.unregister(descriptor)
        code = dialled.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if protocol == "udp" and code == 0:
            try:
                dialled.recv(2048)
                results[key] = "answered"
                continue
            except OSError as error:
                code = error.errno
        results[key] = WORDS.get(code) or errno.errorcode[code]
print(json.dumps(results))
"""

THROUGH = frozenset({"open", "refused by the target", "answered"})
"""Refused by the target: the packet arrived, only nobody listens."""

Exec = Callable[..., str]
"""Runs a command in the pod: its standard output."""


def probe(run: Exec, targets: Iterable[Target], seconds: float = 1.5) -> dict[Target, Outcome]:
    """One attempt at each, all at once; what is silent for ``seconds`` was swallowed. ``run`` needs python3 in the pod."""
    asked = list(targets)
    found = json.loads(run("python3", "-c", _SCRIPT, json.dumps(asked), str(seconds)))
    words = {target: found[f"{target.protocol} {target.host} {target.port}"] for target in asked}
    return {target: through(word) if word in THROUGH else stopped(word) for target, word in words.items()}


def any_of(outcomes: Iterable[Outcome]) -> Outcome:
    """Through when one of the packets was: what an attacker needs."""
    return _summary(outcomes, any)


def all_of(outcomes: Iterable[Outcome]) -> Outcome:
    """Through when every one was: what a control must show, or some of the packets prove nothing."""
    return _summary(outcomes, all)


def _summary(outcomes: Iterable[Outcome], rule: Callable[[Iterable[bool]], bool]) -> Outcome:
    given = list(outcomes)
    assert given
    passed = rule(outcome.through for outcome in given)
    told = [outcome for outcome in given if outcome.through is passed]
    return Outcome(passed, " or ".join(sorted({outcome.saw for outcome in told})))
