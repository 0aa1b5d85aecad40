"""Whatever an app, or whoever speaks for it, puts into a text: a terminal gets none that acts on it, from any command."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sandbox_client import cli
from sandbox_client.cli import main
from sandbox_client.printing import Stream, clean, one_line, plain
from sandbox_protocol.errors import Cause, StatusError
from tests.unit.sandbox_client.fake_api import T0, FakeApi
from tests.unit.sandbox_client.test_cli import kubeconfig as kubeconfig  # noqa: PLC0414 - a fixture, used by its name
from tests.unit.sandbox_client.test_lifecycle import READY, condition

EVIL = "a\x1b]52;c;ZXZpbA==\x07b\x1b[2J\x1b[Hc\x9b31md\u202ee\u2066f\u061cg\x08\x7fh\ud800i\u2028j\x1b[31mk\r\nNext: run evil"
ROOT = Path(cli.__file__).parent

_HARMFUL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


def evil(body: Any) -> Any:
    """Each text of it is one that attacks."""
    if isinstance(body, dict):
        return {key: evil(value) for key, value in body.items()}
    if isinstance(body, list):
        return [evil(item) for item in body]
    return EVIL if isinstance(body, str) else body


PROCESS = {"name": "w", "state": "Running", "command": ["x"], "message": "m", "reason": "r", "port": 3, "pid": 1}
STATUS = {
    **evil({"revision": "r", "process": PROCESS, "processes": [PROCESS], "install": {"state": "s", "command": ["c"]}}),
    **evil(
        {"listening": [{"address": "a", "port": 1}], "conditions": [{"type": "T", "status": "S", "reason": "R", "message": "M"}]}
    ),
    "usage": {EVIL: 1},
}
CHANGE = {"type": EVIL, "path": EVIL, "origin": EVIL, "size": 3, "cursor": "c"}
LINE = {"cursor": "c", "time": T0, "process": EVIL, "stream": "stdout", "text": EVIL}
SYNCED = {"revision": EVIL, "written": 1, "deleted": 0, "unchanged": 0, "bytes": 1, "restarted": True, "unapplied": [EVIL]}


def stands(api: FakeApi, tail: str, answer: Callable[[], web.StreamResponse]) -> None:
    api.fail = lambda request: answer() if request.path.endswith(tail) else None


def lines(*records: Any) -> web.Response:
    return web.Response(text="".join(json.dumps(record) + "\n" for record in records))


def _list(api: FakeApi, folder: Path) -> list[str]:
    api.report("shop", condition(EVIL, EVIL, EVIL, EVIL), condition("Ready", EVIL, EVIL, EVIL), condition("AppReady", EVIL, EVIL))
    return ["list"]


def _status(api: FakeApi, folder: Path) -> list[str]:
    api.report("shop", READY, condition(EVIL, EVIL, EVIL, EVIL))
    stands(api, "/status", lambda: web.json_response(STATUS))
    return ["status", "shop"]


def _restart(api: FakeApi, folder: Path) -> list[str]:
    stands(api, "/restart", lambda: web.json_response(evil(PROCESS)))
    return ["restart", "shop"]


def _logs(api: FakeApi, folder: Path) -> list[str]:
    stands(api, "/log", lambda: lines(LINE))
    return ["logs", "shop", "--prefix"]


def _watch(api: FakeApi, folder: Path) -> list[str]:
    told: Iterator[Callable[[], web.StreamResponse]] = iter(
        [lambda: lines(CHANGE), lambda: web.json_response(StatusError(403, EVIL).body(), status=403)]
    )
    api.fail = lambda request: next(told)() if request.query.get("watch") else None
    return ["watch", "shop"]


def _sync(api: FakeApi, folder: Path) -> list[str]:
    (folder / "new").mkdir()
    (folder / "new" / os.fsdecode(b"a\x1b[2Jb\n\xe2\x80\xaec")).write_text("1")
    (folder / "new" / "link").symlink_to("/\x1b[2J\u202e")
    api.fail = lambda request: web.json_response(SYNCED) if request.method == "POST" and request.path.endswith("/sync") else None
    return ["sync", "shop", str(folder / "new")]


def _export(api: FakeApi, folder: Path) -> list[str]:
    stands(api, "/sync", lambda: web.json_response(StatusError(413, EVIL, causes=[Cause(EVIL, EVIL, EVIL)]).body(), status=413))
    return ["export", "shop", str(folder / "out")]


def _cat(api: FakeApi, folder: Path) -> list[str]:
    stands(api, "/sync", lambda: web.Response(body=EVIL.encode("utf-8", "surrogatepass"), headers={"ETag": '"x"'}))
    return ["cat", "shop", "a"]


def _preview(api: FakeApi, folder: Path) -> list[str]:
    status = {"url": EVIL, "expirationTimestamp": "2026-01-02T03:04:05Z"}
    stands(api, "/preview", lambda: web.json_response({"status": status}))
    return ["preview", "shop"]


def _use(api: FakeApi, folder: Path) -> list[str]:
    languages = [{"name": EVIL, "description": EVIL, "image": EVIL}]
    runner = api.runners["demo", "shop"]
    answer = {**runner, "spec": {"image": EVIL}, "status": {"languages": languages}}
    stands(api, "/shop", lambda: web.json_response(answer))
    return ["use", "shop"]


def _apply(api: FakeApi, folder: Path) -> list[str]:
    manifest = {"apiVersion": "infrastructure.appstudio.dev/v1alpha1", "kind": "SandboxRunner", "metadata": {"name": "shop"}}
    (folder / "r.yaml").write_text(json.dumps(manifest))
    stands(api, "/shop", lambda: web.json_response(StatusError(409, EVIL, causes=[Cause(EVIL, EVIL, EVIL)]).body(), status=409))
    return ["apply", "-f", str(folder / "r.yaml")]


def _delete(api: FakeApi, folder: Path) -> list[str]:
    stands(api, "/shop", lambda: web.json_response(StatusError(403, EVIL).body(), status=403))
    return ["delete", "shop"]


def _exec(api: FakeApi, folder: Path) -> list[str]:
    stands(api, "/exec", lambda: web.json_response(StatusError(403, EVIL).body(), status=403))
    return ["exec", "shop", "--", "true"]


COMMANDS = {
    "list": _list,
    "status": _status,
    "restart": _restart,
    "logs": _logs,
    "watch": _watch,
    "sync": _sync,
    "export": _export,
    "cat": _cat,
    "preview": _preview,
    "use": _use,
    "apply": _apply,
    "delete": _delete,
    "exec": _exec,
}


@pytest.mark.parametrize("no_colour", ["", "1"])
@pytest.mark.parametrize(  # a program gets of `cat` the file as it is
    ("command", "terminal"), [(name, shown) for name in COMMANDS for shown in (True, False) if shown or name != "cat"]
)
def test_no_command_prints_what_acts_on_a_terminal(  # noqa: PLR0917 - fixtures
    api: FakeApi,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    terminal: bool,
    no_colour: str,
) -> None:
    monkeypatch.setenv("NO_COLOR", no_colour)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    api.add("shop")
    main(COMMANDS[command](api, tmp_path))
    out, err = capsys.readouterr()
    assert out + err
    if command == "logs" and terminal and not no_colour:
        out = _COLOUR.sub("", out)
    assert _HARMFUL.search((out + err).replace("\n", "")) is None
    if command != "cat":
        forged = [line for line in (out + err).splitlines() if line.startswith("Next: run")]
        assert forged == []


def test_each_command_is_looked_at() -> None:
    actions = [action for action in cli._parser()._actions if isinstance(action, argparse._SubParsersAction)]
    assert set(actions[0].choices) == set(COMMANDS)


def test_nothing_is_printed_by_another_way() -> None:
    for file in ROOT.glob("*.py"):
        code = file.read_text()
        if file.name not in {"printing.py", "terminal.py"}:
            assert (
                not re.search(r"^\s+print\(|sys\.std(out|err)\.(write|buffer)", code, re.MULTILINE) or file.name == "__init__.py"
            )


def test_colours_stay_only_where_they_are_asked_for() -> None:
    assert clean("\x1b[31mred\x1b[0m\tx", colours=True) == "\x1b[31mred\x1b[0m\tx"
    assert clean("\x1b[31mred\x1b[0m\tx") == "red\tx"
    assert plain("a\x07\nb") == "a\nb"
    assert one_line("a\r\nb") == "a b"
    assert clean("family \U0001f469\u200d\U0001f467, שלום") == "family \U0001f469\u200d\U0001f467, שלום"


def test_what_a_command_writes_is_cleaned_whatever_its_pieces() -> None:
    raw = "1 %\r2 %\r\n\x1b[1;31mred\x1b[0m \x1b]52;c;x\x07 \x1b[2J ü\u202e".encode()
    for size in (1, 2, 3, 100):
        stream = Stream()
        shown = "".join(stream.show(raw[at : at + size]) for at in range(0, len(raw), size)) + stream.end()
        assert shown.startswith("1 %\r2 %\r\n\x1b[1;31mred\x1b[0m ")
        assert shown.endswith("ü\x1b[0m")
        assert _HARMFUL.search(_COLOUR.sub("", shown).replace("\r", "").replace("\n", "")) is None
