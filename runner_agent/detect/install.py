"""What must be installed before anything of a tree runs: one step for each language and folder."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runner_agent.detect.reading import Reader

ENVIRONMENT: Mapping[str, str] = {
    "CI": "true",  # no prompts and no moving bars; only here, as some dev servers stop watching under it
    "YARN_ENABLE_IMMUTABLE_INSTALLS": "false",
    "YARN_ENABLE_TELEMETRY": "0",
    "YARN_ENABLE_HARDENED_MODE": "0",
    "COREPACK_ENABLE_DOWNLOAD_PROMPT": "0",
    "HUSKY": "0",
    "PIP_NO_INPUT": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PYTHONUNBUFFERED": "1",
}
"""Of installs, beside the app's own variables."""

CUT_OFF = "SANDBOX_INSTALL_CUT_OFF"
"""Set for an install whose last run did not end: it leaves half a package behind that package managers take for a whole one."""


@dataclass(frozen=True, slots=True)
class Install:
    """A step before the app: ``command``, done again when ``digest`` (of manifests and lock files) is another or ``folder`` is
    gone.

    ``manifests`` is the digest without lock files, which the install itself may write. ``shown`` is the command as people
    write it.
    """

    command: tuple[str, ...]
    digest: str
    folder: str
    shown: str = ""
    manifests: str = ""


def step(  # noqa: PLR0913
    read: Reader, inside: str, mark: str, body: str, shown: str, *, manifests: Iterable[str], locks: Iterable[str]
) -> Install:
    """``body`` is run by a shell in the folder ``inside``; ``mark`` is what it makes there. Paths of manifests and locks
    are those of ``read``.
    """
    folder = f"{inside}/{mark}" if inside else mark
    text = (
        (f"cd {shlex.quote(inside)} || exit; " if inside else "")
        + f"if [ -n \"${CUT_OFF}\" ]; then echo 'the install before was cut off: it begins anew'; rm -rf {mark}; fi; "
        + body
    )
    command = ("sh", "-c", text)
    said = [read(path) for path in manifests]
    locked = [read(path) for path in locks]
    where = f" (in {inside})" if inside else ""
    return Install(command, digest(command, *said, *locked), folder, shown + where, digest(command, *said))


def digest(command: Sequence[str], *contents: bytes | None) -> str:
    found = hashlib.sha256(repr(tuple(command)).encode())
    for content in contents:
        found.update(b"\0" + hashlib.sha256(content or b"").digest())
    return found.hexdigest()
