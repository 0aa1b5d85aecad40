"""Init container: hands the launcher over, then holds the pod back until the network policy is really enforced.

With some CNI plugins a new pod can talk to everybody for a moment before its policy is in force. The gate dials what the policy
must block, all at once, and lets the pod go on only when every attempt is swallowed. It fails closed. It imports little, being on
the path of every start.
"""

# ruff: noqa: PTH100, PTH101, PTH102, PTH104, PTH112, PTH118, PTH120, PTH123  (importing pathlib costs 10 ms of every start)
from __future__ import annotations

import errno
import os
import selectors
import socket
import sys
import time
from collections.abc import Mapping, Sequence

from sandbox_protocol.names import GATE_NOT_FENCED

ATTEMPT_SECONDS = 0.2
"""A refused or accepted connection inside a cluster is known within a few milliseconds; silence for 200 is a drop."""
PAUSE_SECONDS = 0.1
_FENCED = frozenset({errno.EPERM, errno.EACCES, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT})
"""How a policy shows itself besides silence: eBPF hooks say EPERM, reject rules and missing routes say unreachable."""

Target = tuple[str, int]


class NotFencedError(Exception):
    """The network policy is not enforced; the message says what answered."""


class GateError(Exception):
    """The pod must not start; the message is a sentence for people."""


def parse_targets(text: str) -> list[Target]:
    """``10.96.0.1:443 [fd00::1]:443``, separated by commas or spaces. Addresses only: a name would need the network first."""
    targets = []
    for word in text.replace(",", " ").split():
        host, _, port = word.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            socket.inet_pton(family, host)
            number = int(port)
        except (OSError, ValueError):
            raise GateError(f"SANDBOX_GATE_TARGETS: {word!r} is not <IP address>:<port>.") from None
        if not 1 <= number <= 65535:
            raise GateError(f"SANDBOX_GATE_TARGETS: {word!r} has no port between 1 and 65535.")
        targets.append((host, number))
    return targets


def reachable(targets: Sequence[Target], timeout: float = ATTEMPT_SECONDS) -> list[Target]:
    """Those of ``targets`` that answered, by accepting or refusing, within ``timeout`` seconds."""
    answered: list[Target] = []
    with selectors.DefaultSelector() as selector:
        sockets = []
        for target in targets:
            dialled = socket.socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET, socket.SOCK_STREAM)
            sockets.append(dialled)
            dialled.setblocking(False)
            result = dialled.connect_ex(target)
            if result == errno.EINPROGRESS:
                selector.register(dialled, selectors.EVENT_WRITE, target)
            elif result not in _FENCED:
                answered.append(target)
        deadline = time.monotonic() + timeout
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                ended = key.fileobj
                assert isinstance(ended, socket.socket)
                if ended.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) not in _FENCED:
                    answered.append(key.data)
                selector.unregister(ended)
        for used in sockets:
            used.close()
    return answered


def wait_until_fenced(targets: Sequence[Target], seconds: float) -> None:
    """Returns once no target answers; NotFencedError after ``seconds`` names those that still do."""
    deadline = time.monotonic() + seconds
    while open_targets := reachable(targets):
        if time.monotonic() >= deadline:
            shown = ", ".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in open_targets)
            raise NotFencedError(
                f"The network policy of this sandbox is not enforced: {shown} answers, though egress to it is forbidden "
                f"(tried for {seconds:g} s). Install a CNI plugin that enforces NetworkPolicy, such as Cilium."
            )
        time.sleep(PAUSE_SECONDS)


HANDED_OVER = {"launcher": 0o555, "static_server.py": 0o444}
"""Files of ours that the app container runs, each with its mode: the static program that the image's build puts beside this file
(launcher/), and the server of static sites."""


def hand_over(program: str, directory: str) -> None:
    """Copies ``program`` (the launcher) and what is beside this file to ``directory``: each in one step, for nobody to write."""
    here = os.path.dirname(os.path.abspath(__file__))
    for name, mode in HANDED_OVER.items():
        target = os.path.join(directory, name)
        with open(program if name == "launcher" else os.path.join(here, name), "rb") as file:
            content = file.read()
        descriptor = os.open(target + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
        with open(descriptor, "wb") as file:
            file.write(content)
        os.chmod(target + ".new", mode)  # whatever the umask; it is for every user to run
        os.rename(target + ".new", target)


PLACES = {"tree": 0o755, "home": 0o755, "tmp": 0o1777}
"""Folders of the volume and their modes, as on any machine. Ones that are missing are made by the kubelet, for root and for the
group to write, and some programs refuse a cache, a key or a socket below such a folder."""


def make_places(data: str) -> None:
    """The folders of a new volume; one that is there keeps what it has."""
    for name, mode in PLACES.items():
        path = os.path.join(data, name)
        if not os.path.isdir(path):
            os.mkdir(path)
            os.chmod(path, mode)  # whatever the umask


def run_gate(environ: Mapping[str, str] = os.environ) -> int:
    """Exit code 0: the pod may start; GATE_NOT_FENCED: the policy is not enforced; 1: the gate itself failed.

    Reads SANDBOX_DATA (where the volume is; left alone when empty), SANDBOX_LAUNCHER (the launcher beside this file),
    SANDBOX_LAUNCHER_DIR (/opt/sandbox), SANDBOX_GATE_TARGETS (required, may be empty), SANDBOX_GATE_SECONDS (60).
    """
    started = time.monotonic()
    try:
        if "SANDBOX_GATE_TARGETS" not in environ:
            raise GateError("SANDBOX_GATE_TARGETS is not set: nothing to prove the network policy with.")
        targets = parse_targets(environ["SANDBOX_GATE_TARGETS"])
        beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launcher")
        if data := environ.get("SANDBOX_DATA"):
            make_places(data)
        hand_over(environ.get("SANDBOX_LAUNCHER", beside), environ.get("SANDBOX_LAUNCHER_DIR", "/opt/sandbox"))
        wait_until_fenced(targets, float(environ.get("SANDBOX_GATE_SECONDS", "60")))
    except NotFencedError as error:
        print(f"gate: {error}", file=sys.stderr)
        return GATE_NOT_FENCED
    except (GateError, OSError, ValueError) as error:
        print(f"gate: {error}", file=sys.stderr)
        return 1
    print(f"gate: {len(targets)} forbidden targets are unreachable after {time.monotonic() - started:.2f} s", flush=True)
    return 0
