"""Scripts of real packages download from the mirror of releases that a template names, here one that the test plays."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sandbox_operator.model.releases import environment
from sandbox_operator.model.template import Egress, Releases

ADDON, ENGINE = b"a compiled addon", b"an engine"


def addon() -> bytes:
    """What a native addon publishes beside its source."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("build/Release/better_sqlite3.node")
        member.size = len(ADDON)
        tar.addfile(member, io.BytesIO(ADDON))
    return packed.getvalue()


class Mirror(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        packed = gzip.compress(ENGINE, mtime=0)
        if self.path.startswith("/binaries/better-sqlite3/"):
            content = addon()
        elif self.path.endswith(".sha256"):
            content = hashlib.sha256(packed if ".gz" in self.path else ENGINE).hexdigest().encode()
        else:
            content = packed
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[tuple[str, list[str]]]:
    """Its address, and the paths that it was asked for."""
    asked: list[str] = []
    played = type("Played", (Mirror,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), played) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/binaries/", asked
        server.shutdown()


def install(folder: Path, url: str, package: str) -> None:
    """With the package's own script. For another platform than this one a script does not try what it brought; one that found
    nothing would compile, which fails here at once."""
    variables = {one.name: one.value for one in environment(Egress(releases=Releases(url=url)))}
    (folder / "package.json").write_text(json.dumps({"private": True}))
    argv = ["npm", "install", "--no-audit", "--no-fund", "--foreground-scripts", package]
    env = {**os.environ, **variables, "npm_config_arch": "arm64", "npm_config_node_gyp": "/bin/false"}
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_native_addon_comes_compiled_from_the_mirror(tmp_path: Path, mirror: tuple[str, list[str]]) -> None:
    url, asked = mirror
    install(tmp_path, url, "better-sqlite3@12")
    assert (tmp_path / "node_modules/better-sqlite3/build/Release/better_sqlite3.node").read_bytes() == ADDON
    (path,) = asked
    assert path.startswith("/binaries/better-sqlite3/v12.")
    assert path.endswith("-linux-arm64.tar.gz")


def test_engines_of_prisma_come_from_the_mirror(tmp_path: Path, mirror: tuple[str, list[str]]) -> None:
    url, asked = mirror
    install(tmp_path, url, "@prisma/engines@6")
    assert [path for path in asked if not path.startswith("/binaries/prisma/all_commits/")] == []
    assert ENGINE in [file.read_bytes() for file in (tmp_path / "node_modules/@prisma/engines").iterdir() if file.is_file()]
