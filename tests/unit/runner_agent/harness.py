"""What the agent's tests share: a workspace driven without HTTP, and archives to send."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runner_agent.sync_request import Receiver
from runner_agent.workspace import Outcome, Workspace
from sandbox_protocol.wire import JSON, TAR


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, kind=tarfile.SYMTYPE, linkname=target)


def dig(top: Path) -> None:
    """Directories below ``top``, each in the last: deeper than a path may be long, and than Python recurses."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("x", dir_fd=here)
        below = os.open("x", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def directory(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, kind=tarfile.DIRTYPE, mode=mode)


def archive(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


class Harness:
    """A workspace driven without HTTP; ``restart`` opens it again as a new process would."""

    def __init__(self, data: Path, **options: Any) -> None:
        self.data = data
        self.options = options
        self.ws = Workspace(data, **options)

    @property
    def tree(self) -> Path:
        return self.data / "tree"

    def send(
        self,
        body: bytes,
        media_type: str = JSON,
        encoding: str = "",
        query: Mapping[str, Sequence[str]] | None = None,
        revision: str | None = None,
    ) -> Outcome:
        stage = self.ws.stage()
        died = False
        try:
            receiver = Receiver(stage, media_type, encoding, query or {})
            for at in range(0, len(body), 100_000):
                receiver.feed(body[at : at + 100_000])
            return self.ws.commit(stage, receiver.finish().mode, revision)
        except Exception:
            raise
        except BaseException:
            died = True  # a process that is killed tidies nothing up
            raise
        finally:
            if not died:
                self.ws.discard(stage)

    def sync(self, files: Mapping[str, str] | None = None, **fields: Any) -> Outcome:
        sent = [{"path": path, "content": content} for path, content in (files or {}).items()]
        revision = fields.pop("revision", None)
        return self.send(json.dumps({"files": sent, **fields}).encode(), revision=revision)

    def tar(self, body: bytes, encoding: str = "", **query: Sequence[str]) -> Outcome:
        return self.send(body, TAR, encoding, query)

    def restart(self, **options: Any) -> None:
        """As after kill -9: nothing is closed in order."""
        self.options |= options
        self.ws = Workspace(self.data, **self.options)

    def contents(self) -> dict[str, str]:
        """Every file and link of the tree."""
        found: dict[str, str] = {}
        for path in sorted(self.tree.rglob("*")):
            name = str(path.relative_to(self.tree))
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            elif path.is_file():
                found[name] = path.read_text()
        return found

    def staged(self) -> list[str]:
        return sorted(path.name for path in (self.data / ".agent/staging").iterdir())
