"""Files through the Kubernetes API: bit-exact, and never outside the workspace."""

from __future__ import annotations

import hashlib
import io
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox_client import Conflict, Invalid, SandboxError, Stale, TooLarge, blocking
from sandbox_client.api import Request, path
from sandbox_client.tree import scan
from sandbox_protocol import names
from sandbox_protocol.limits import NAME_BYTES, PATH_BYTES
from sandbox_protocol.wire import TAR, SyncResult
from tests.harness.cluster import Cluster
from tests.harness.fixtures import RunnerFactory, UserFactory
from tests.harness.requests import send
from tests.harness.trees import make_tree

_HASHES = "cd /workspace && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum"
"""Of every file, as the app sees them."""


def expected(root: Path) -> str:
    files = sorted(os.fsencode(f"./{path}") for path, entry in scan(root).entries.items() if entry.type == "file")
    return "".join(
        f"{hashlib.sha256((root / os.fsdecode(file)).read_bytes()).hexdigest()}  {os.fsdecode(file)}\n" for file in files
    )


def test_a_binary_of_30_mb_arrives_bit_exact(cluster: Cluster, make_runner: RunnerFactory, tmp_path: Path) -> None:
    sandbox = make_runner("binary")
    (tmp_path / "video.bin").write_bytes(random.Random(1).randbytes(30_000_000))
    result = sandbox.sync(directory=tmp_path)
    assert (result.written, result.bytes) == (1, 30_000_000)
    assert cluster.exec(sandbox, "sh", "-c", _HASHES) == expected(tmp_path)
    assert sandbox.read("video.bin")["video.bin"] == (tmp_path / "video.bin").read_bytes()


def test_a_tree_of_2000_files_arrives_bit_exact_and_only_changes_travel_after(
    cluster: Cluster, make_runner: RunnerFactory, tmp_path: Path
) -> None:
    sandbox = make_runner("tree")
    make_tree(tmp_path, 2000, 20_000_000)
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "latest").symlink_to("package00/module-1.js")
    assert sandbox.sync(directory=tmp_path).written == 2002
    assert cluster.exec(sandbox, "sh", "-c", _HASHES) == expected(tmp_path)
    assert cluster.exec(sandbox, "sh", "-c", "cd /workspace && readlink latest && stat -c %a run.sh").split() == [
        "package00/module-1.js",
        "755",
    ]
    (tmp_path / "package07" / "module-350.js").write_text("changed")
    (tmp_path / "package08" / "module-400.js").unlink()
    result = sandbox.sync(directory=tmp_path, mode="mirror")
    assert (result.written, result.deleted, result.unchanged, result.bytes) == (1, 1, 2000, 7)
    assert cluster.exec(sandbox, "sh", "-c", _HASHES) == expected(tmp_path)


def test_a_sync_built_on_another_revision_is_refused(runner: blocking.Sandbox) -> None:
    first = runner.sync({"base.txt": "1"})
    runner.sync({"base.txt": "2"})
    with pytest.raises(Stale, match=first.revision):
        runner.sync({"base.txt": "3"}, if_match=first.revision)
    assert runner.read("base.txt") == {"base.txt": b"2"}


@pytest.mark.parametrize(
    "name",
    [
        "../escape.txt",
        "ok/../../escape.txt",
        "/tmp/escape.txt",
        "nul\0byte",
        "n" * (NAME_BYTES + 1),
        "/".join(["d" * 200] * (PATH_BYTES // 200 + 1)),
        "",
        ".",
    ],
    ids=["parent", "parent-inside", "absolute", "nul", "long-name", "long-path", "empty", "itself"],
)
def test_a_path_out_of_the_workspace_is_refused_by_name(runner: blocking.Sandbox, name: str) -> None:
    runner.sync({"untouched.txt": "before"})
    revision = runner.manifest().revision
    with pytest.raises(Invalid) as caught:
        runner.sync({"untouched.txt": "after", name: "x"})
    shown = name.replace("\0", "\\x00")[:40]
    assert any(shown in cause.field for cause in caught.value.causes), caught.value.describe()
    assert runner.read("untouched.txt") == {"untouched.txt": b"before"}
    assert runner.manifest().revision == revision


def hard_link(info: tarfile.TarInfo) -> None:
    info.type, info.linkname = tarfile.LNKTYPE, "../../etc/passwd"


def device(info: tarfile.TarInfo) -> None:
    info.type, info.devmajor, info.devminor = tarfile.CHRTYPE, 1, 3


def fifo(info: tarfile.TarInfo) -> None:
    info.type = tarfile.FIFOTYPE


def absolute_link(info: tarfile.TarInfo) -> None:
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"


def link_outside(info: tarfile.TarInfo) -> None:
    info.type, info.linkname = tarfile.SYMTYPE, "../../.agent/manifest"


@pytest.mark.parametrize("make", [hard_link, device, fifo, absolute_link, link_outside])
def test_a_tar_entry_that_is_no_plain_part_of_the_tree_is_refused_by_name(
    user: UserFactory, runner: blocking.Sandbox, make: Callable[[tarfile.TarInfo], None]
) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("sub/odd-entry")
        make(entry)
        tar.addfile(entry)
    revision = runner.manifest().revision
    with pytest.raises(Invalid) as caught:
        _post_tar(user, runner, out.getvalue())
    assert "sub/odd-entry" in caught.value.describe()
    assert runner.manifest().revision == revision


def test_a_link_that_the_app_planted_is_not_followed(cluster: Cluster, runner: blocking.Sandbox) -> None:
    runner.sync({"first.txt": "so that the app runs"})
    cluster.exec(runner, "ln", "-sfn", "/tmp", "/workspace/planted")
    cluster.exec(runner, "ln", "-sfn", "../.agent", "/workspace/inward")
    before = cluster.exec(runner, "find", "/data/.agent", "/tmp", "-name", "pwned*", container="agent")
    for name in ("planted/pwned.txt", "inward/pwned.txt"):
        with pytest.raises(Invalid) as caught:
            runner.sync({name: "x"})
        assert name in caught.value.describe()
    assert before == ""
    assert cluster.exec(runner, "find", "/data/.agent", "/tmp", "-name", "pwned*", container="agent") == ""
    assert cluster.exec(runner, "find", "/tmp", "-name", "pwned*") == ""


_FLIP = """
import os, time
end = time.monotonic() + {seconds}
while time.monotonic() < end:
    for make in (lambda: os.symlink("../.agent", "/workspace/flip.new"), lambda: os.mkdir("/workspace/flip.new")):
        try:
            make()
            os.system("rm -rf /workspace/flip")
            os.rename("/workspace/flip.new", "/workspace/flip")
        except OSError:
            pass
"""


def test_a_link_planted_between_check_and_write_is_not_followed(cluster: Cluster, runner: blocking.Sandbox) -> None:
    """The app swaps a folder for a link out of the workspace as fast as it can while syncs write below that folder."""
    runner.sync({"first.txt": "so that the app runs"})
    cluster.exec(runner, "sh", "-c", f"python3 -c '{_FLIP.format(seconds=6)}' >/dev/null 2>&1 &")
    written = refused = 0
    for number in range(60):
        try:
            runner.sync({f"flip/pwned-{number}.txt": "x" * 1000})
            written += 1
        except (Invalid, Conflict):  # a link in the way, or moved while it was written; either way nothing was changed
            refused += 1
    assert written + refused == 60
    assert cluster.exec(runner, "find", "/data/.agent", "-name", "pwned*", "-size", "+0", container="agent") == ""


def test_more_than_the_limit_is_refused_with_the_numbers(user: UserFactory, runner: blocking.Sandbox) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number in range(20_001):
            tar.addfile(tarfile.TarInfo(f"many/{number}"))
    with pytest.raises(TooLarge, match="20000"):
        _post_tar(user, runner, out.getvalue())
    assert not any(entry.path.startswith("many/") for entry in runner.manifest().entries)


def test_what_the_tree_ignores_is_skipped_and_said(runner: blocking.Sandbox) -> None:
    result = runner.sync({".sandboxignore": "*.secret\n", "a.secret": "x", "node_modules/x/index.js": "x", "b.txt": "y"})
    assert {skipped.path.partition("/")[0] for skipped in result.skipped} == {"a.secret", "node_modules"}
    assert runner.read("b.txt") == {"b.txt": b"y"}
    with pytest.raises(SandboxError):
        runner.read("a.secret")
    runner.sync({}, delete=[".sandboxignore"])


def _post_tar(user: UserFactory, sandbox: blocking.Sandbox, body: bytes) -> SyncResult:
    verb = path(
        "apis", names.SUBRESOURCE_GROUP, names.VERSION, "namespaces", sandbox.namespace, names.PLURAL, sandbox.name, "sync"
    )
    return SyncResult.from_json(send(user("edit"), Request("POST", verb, (), {"Content-Type": TAR}, body)))
