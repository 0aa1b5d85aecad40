"""What an agent reads of an app: its tree, where it listens, what it prints; and what stays out, beside what git says."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from runner_agent import detect, ports, whereabouts
from runner_agent.detect import NoCommandError, failures, hints, hosts, shell
from runner_agent.ports import Listener
from runner_agent.probe import Answer, NoHttp, Said
from sandbox_protocol import ignore
from tests.fuzz.target import target

_LINE_CHARACTERS = 16 * 1024


@target
def socket_table(data: bytes) -> None:
    """A table of the kernel. No exception; what is found is an address and a port that can be dialled, none of the agent's."""
    text = data.decode("latin-1")
    found = ports.listening([text, "  sl  local_address rem_address   st\n" + text])
    assert found == sorted(found)
    for one in found:
        assert 0 < one.port < 65536
        assert one.port not in ports.OWN_PORTS
        assert one.waiting >= 0
        json.dumps(one.to_json())
        for host in one.hosts():
            assert re.fullmatch(r"[0-9a-f.:]+", host)


def _said(byte: int) -> Said | None:
    return (None, Answer(200, html=True), Answer(500), Answer(426), NoHttp("does not answer in HTTP"), Answer(200, tls=True))[
        byte % 6
    ]


@target
def listeners_of_an_app(data: bytes) -> None:
    """The first three bytes are flags and times of a run, then four bytes a listener. No exception; what is served answers and
    was seen; PORT comes before all others; a reason has words."""
    flags, running, since, rest = *(data[:3] + bytes(3))[:3], data[3:]
    addresses = ("127.0.0.1", "0.0.0.0", "::", "::1", "fe80::1", "::ffff:10.0.0.1")
    seen = [
        whereabouts.Seen(
            Listener(3000 + one[0] % 4, addresses[one[1] % 6]), one[2] * 1.0, one[3] * 2.0, said=_said(one[0] >> 4 ^ one[1] >> 4)
        )
        for one in (rest[at : at + 4] for at in range(0, len(rest) - 3, 4))
    ][:16]
    view = whereabouts.View(
        3000,
        "spec.port",
        running * 1.0,
        seen,
        since * 1.0 if flags & 1 else None,
        bool(flags & 2),
        bool(flags & 4),
        bool(flags & 8),
        bool(flags & 16),
        3001 if flags & 32 else None,
    )
    finding = whereabouts.judge(view)
    here = [one for one in seen if one.port == 3000 and isinstance(one.said, Answer)]
    if here:
        assert finding.answers
        assert finding.where is not None
        assert finding.where.port == 3000
    if finding.answers:
        assert finding.where is not None
        assert any(one.port == finding.where.port and isinstance(one.said, Answer) for one in seen)
        assert not finding.reason
    assert finding.words or not finding.reason


_NAMES = (
    *("package.json", "Procfile", "requirements.txt", "pyproject.toml", "app.py", "main.py", "manage.py", "Pipfile", "uv.lock"),
    *("package-lock.json", "pnpm-workspace.yaml", "index.html", "server.js", ".nvmrc", "go.mod", "frontend/package.json"),
    *(
        "backend/app.py",
        "backend/requirements.txt",
        "apps/web/package.json",
        "vite.config.js",
        "turbo.json",
        "deno.json",
        "x.csproj",
    ),
    *("nodemon.json", ".npmrc", "poetry.lock", ".python-version", "node_modules/vite/package.json", "Gemfile", "composer.json"),
)


class _Tree(dict[str, bytes]):
    def __call__(self, path: str) -> bytes | None:
        return self.get(path)

    def names(self, folder: str) -> Sequence[str]:
        start = f"{folder}/" if folder else ""
        inner = [path.removeprefix(start) for path in self if path.startswith(start)]
        return sorted({first + slash for first, slash, _ in (path.partition("/") for path in inner)})


@target
def tree_of_an_app(data: bytes) -> None:
    """Files divided by NUL NUL, each a byte for its name and its content. NoCommandError only; what is to be run and installed
    can be sent to the launcher, shown in a status, and is the same when it is asked again."""
    tree = _Tree({_NAMES[part[0] % len(_NAMES)]: part[1:] for part in data.split(b"\0\0")[:8] if part})
    try:
        found = detect.plan(tree, None, 3000)
    except NoCommandError as error:
        json.dumps(str(error), ensure_ascii=False).encode()
    else:
        _runs((*found.command, found.shown, found.framework, *found.env.values()))
        assert found.command
        assert detect.plan(tree, None, 3000) == found
    for install in detect.installs(tree):
        _runs((*install.command, install.shown))
    detect.wanted_program(tree)


def _runs(words: Sequence[str]) -> None:
    for word in words:
        assert "\0" not in word
        os.fsencode(word)
        json.dumps(word, ensure_ascii=False).encode()


@target
def script_of_an_app(data: bytes) -> None:
    """A script. No exception; of one that is understood, its words put together again mean the same."""
    text = data.decode("utf-8", "replace")
    commands = shell.parse(text)
    if commands is not None:
        again = shell.parse(" ".join(f"{shell.joined(command.words)} {command.separator}" for command in commands))
        assert again is not None
        assert [[word.value for word in command.words] for command in again] == [
            [word.value for word in command.words] for command in commands
        ]


@target
def lines_of_an_install(data: bytes) -> None:
    """Printed again and again in one line of 16 KiB, and as lines. No exception, in time that grows with the line (the fuzzer's
    own limit tells); names of hosts are such, and what is shown holds no credential of an address."""
    text = data.decode("utf-8", "replace")
    long = (text * (_LINE_CHARACTERS // max(1, len(text)) + 1))[:_LINE_CHARACTERS]
    for lines in ([long.replace("\n", " ")], text.split("\n")):
        failures.network_failed(lines)
        hints.next_step(lines)
        for shown in failures.from_first_error(lines):
            assert not re.search(r"https?://[^\s/@:*]+:[^\s/@]*@", shown)
        for host in hosts.wanted(lines):
            assert re.fullmatch(r"[a-z0-9.-]+", host)


_PATHS = (
    "a",
    "b.txt",
    "foo",
    "foo1",
    "[s]",
    "s",
    "#odd",
    "!odd",
    "end ",
    "A.TXT",
    "d/a",
    "d/keep.txt",
    "d/e/keep.txt",
    "d/e/f/a",
)
_ODD = ("é/ü", "x\\y", "a b/c", "foo*bar/x", "build/out/a", "web/build/out")


@functools.cache
def _repository() -> tuple[tempfile.TemporaryDirectory[str], Path]:
    kept = tempfile.TemporaryDirectory(prefix="ignored-")
    root = Path(kept.name)
    for path in (*_PATHS, *_ODD):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    subprocess.run(["git", "init", "-q", root], check=True)
    return kept, root


@target
def ignored_as_by_git(data: bytes) -> None:
    """An ignore file. What stays out by it is what ``git check-ignore`` says of the same tree."""
    _, root = _repository()
    (root / ".gitignore").write_bytes(data)
    command = ["git", "-C", str(root), "check-ignore", "--no-index", "--stdin", "-z"]
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    asked = "\0".join((*_PATHS, *_ODD)).encode()
    done = subprocess.run(command, input=asked, capture_output=True, check=False, env=env)
    rules = ignore.parse(data)
    assert {path for path in (*_PATHS, *_ODD) if rules.ignores(path)} == set(done.stdout.decode().split("\0")) - {""}
