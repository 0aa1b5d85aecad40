"""What a person sees of ``kubectl sandbox``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from sandbox_client import blocking, cli
from sandbox_client.cli import main
from sandbox_protocol.errors import Cause, StatusError
from tests.unit.sandbox_client.fake_api import FakeApi
from tests.unit.sandbox_client.test_lifecycle import READY, condition


@pytest.fixture(autouse=True)
def kubeconfig(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    async def serve() -> web.AppRunner:
        runner = web.AppRunner(api.application())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    runner = blocking._Loop.run(serve())
    content = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "demo"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(content))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield
    blocking._Loop.run(runner.cleanup())


def test_apply_list_and_sync(api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = {"apiVersion": "infrastructure.appstudio.dev/v1alpha1", "kind": "SandboxRunner", "metadata": {"name": "shop"}}
    (tmp_path / "runner.yaml").write_text(yaml.safe_dump(manifest))
    assert main(["apply", "-f", str(tmp_path / "runner.yaml"), "--no-wait"]) == 0
    api.report("shop", READY, condition("AppReady", "False", "AwaitingFirstSync"))
    assert main(["list"]) == 0
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "index.html").write_text("<h1>Hi</h1>")
    assert main(["sync", "shop", str(tmp_path / "app")]) == 0
    out = capsys.readouterr().out
    assert "sandboxrunner demo/shop applied" in out
    assert "demo       shop  True   Ready   AwaitingFirstSync" in out
    assert "1 written (11 B), 0 deleted, 0 unchanged" in out


def test_logs_and_preview(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.add("shop")
    api.log = b"hello\n"
    assert main(["logs", "shop", "--tail", "3", "--since", "2m"]) == 0
    assert dict(api.requests[-1].query) == {"tailLines": "3", "sinceSeconds": "120"}
    assert main(["preview", "shop"]) == 0
    assert main(["preview", "shop", "--revoke"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "hello",
        "http://3000-x.preview.localhost:8090/?sandbox_token=t",
        "all previews of this runner are ended",
    ]


def test_status_says_why_a_runner_is_not_ready(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.add("shop")
    api.report("shop", condition("Ready", "False", "Unschedulable", "0/1 nodes are available"))
    assert main(["status", "shop"]) == 1
    out = capsys.readouterr().out
    assert "Ready        False   Unschedulable         0/1 nodes are available" in out
    assert "It is not ready yet." in out


def test_status_shows_the_process(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.add("shop")
    api.report("shop", READY)
    api.app_status = [
        {
            "revision": "3-abc",
            "process": {"state": "Running", "command": ["npm", "run", "dev"], "restarts": 2},
            "listening": [{"port": 3000, "address": "0.0.0.0"}],
            "usage": {"memoryBytes": 50 * 1024 * 1024},
        }
    ]
    assert main(["status", "shop"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^web +Running +no +- +2 +npm run dev$", out, re.MULTILINE)
    for words in ("0.0.0.0:3000", "3-abc", "memoryBytes 50 MiB"):
        assert words in out


def test_status_prints_the_agents_own_word_of_the_app_and_counts_as_counts(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.add("shop")
    api.report("shop", READY, condition("AppReady", "True", "Ready", "The app answers on its port."))
    api.app_status = [
        {
            "process": {"state": "BackOff", "port": 3000},
            "conditions": [{"type": "AppReady", "status": "False", "reason": "CrashLoop", "message": "ended\x1b[2J with 7"}],
            "usage": {"workspaceBytes": 28, "workspaceFiles": 28, "workspaceFreeFiles": 228000, "volumeShared": False},
        }
    ]
    assert main(["status", "shop"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^AppReady +False +CrashLoop +ended with 7$", out, re.MULTILINE)
    assert "The app answers on its port." not in out
    assert "workspaceBytes 28 B, workspaceFiles 28, workspaceFreeFiles 228000, volumeShared no" in out


def test_status_shows_the_port_where_an_app_really_listens(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.add("shop")
    api.report("shop", READY)
    api.app_status = [{"process": {"state": "Running", "ready": True, "port": 3000, "listening": 4321, "command": ["astro"]}}]
    assert main(["status", "shop"]) == 0
    assert re.search(r"^web +Running +yes +3000 \(4321\) +0 +astro$", capsys.readouterr().out, re.MULTILINE)


def test_status_shows_each_process_in_a_line_and_the_install(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.add("shop")
    api.report("shop", READY)
    api.app_status = [
        {
            "process": {"state": "Running"},
            "processes": [
                {"name": "web", "state": "Running", "ready": True, "port": 3000, "restarts": 0, "command": ["vite"]},
                {
                    "name": "worker",
                    "state": "BackOff",
                    "reason": "CrashLoop",
                    "exitCode": 3,
                    "restarts": 7,
                    "command": ["node", "w.js"],
                    "message": "ended with 3. Last lines:\nboom",
                },
            ],
            "install": {"state": "Succeeded", "command": ["npm", "install"]},
        }
    ]
    assert main(["status", "shop"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^web +Running +yes +3000 +0 +vite$", out, re.MULTILINE)
    assert re.search(r"^worker +BackOff \(3\), CrashLoop +no +- +7 +node w.js$", out, re.MULTILINE)
    assert "worker: boom" in out
    assert "Succeeded: npm install" in out


def test_one_process_is_restarted_by_its_name(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["restart", "shop", "worker"]) == 0
    assert capsys.readouterr().out == "worker: Starting\n"


def test_a_refusal_prints_message_causes_and_the_next_step(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    refusal = StatusError(403, "may not create sandboxrunners/sync", causes=[Cause("verb", "Forbidden", "ask for edit")])
    api.fail = lambda _: web.json_response(refusal.body(), status=403)
    assert main(["restart", "shop"]) == 1
    assert capsys.readouterr().err.splitlines()[:2] == ["Error: may not create sandboxrunners/sync", "  verb: ask for edit"]
    assert main(["delete", "nobody"]) == 1


def test_deleting_what_is_not_there_is_no_failure() -> None:
    assert main(["delete", "nobody"]) == 0


def test_a_folder_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", "shop", "/does/not/exist"]) == 1
    assert "Error: /does/not/exist is not a folder" in capsys.readouterr().err


def test_a_wrong_call_ends_with_2() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["sync"])
    assert caught.value.code == 2


def test_files_come_back(api: FakeApi, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    api.add("shop")
    (tmp_path / "app").mkdir()
    (tmp_path / "app/index.html").write_bytes(b"<h1>\xff</h1>")
    assert main(["sync", "shop", str(tmp_path / "app")]) == 0
    assert main(["export", "shop", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/index.html").read_bytes() == b"<h1>\xff</h1>"
    assert b"1 files into" in capsysbinary.readouterr().out
    assert main(["cat", "shop", "index.html"]) == 0
    assert capsysbinary.readouterr().out == b"<h1>\xff</h1>"
    assert main(["cat", "shop", "missing"]) == 1
    assert b"missing" in capsysbinary.readouterr().err


def test_changes_are_shown_with_whose_they_are(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.add("shop")
    api.events = [[{"type": "MODIFIED", "path": "a b", "entryType": "file", "size": 2048, "cursor": "1-1", "origin": "app"}]]
    assert main(["watch", "shop", "--cursor", "1-0"]) == 1  # the second watch is refused
    assert capsys.readouterr().out == "MODIFIED app  a b (2.0 KiB)\n"


def spec(api: FakeApi) -> dict[str, Any]:
    (runner,) = api.runners.values()
    return dict(runner["spec"])


def test_one_command_switches_to_the_image_for_a_language_and_another_back(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = api.add("shop", {"image": "registry.test/mine", "port": 4000})
    runner["status"] = {"languages": [{"name": "go", "description": "Go."}, {"name": "bun"}]}
    assert main(["use", "shop", "go"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "spec.image, registry.test/mine, is given up",
        "shop gets a new pod with the image for go of its template; its files stay",
    ]
    assert spec(api) == {"language": "go", "port": 4000}
    assert main(["use", "shop"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "LANGUAGE  USED  IMAGE",
        "default         The template's default image.",
        "go        yes   Go.",
        "bun",
    ]
    assert main(["use", "shop", "go"]) == 0
    assert "uses go already" in capsys.readouterr().out
    assert main(["use", "shop", "default"]) == 0
    assert spec(api) == {"port": 4000}


def test_a_language_that_the_template_does_not_have_is_refused_with_those_it_has(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.add("shop")["status"] = {"languages": [{"name": "go"}]}
    assert main(["use", "shop", "rust"]) == 1
    assert "Error: the template of shop has no image for rust; it has default, go" in capsys.readouterr().err
    assert "language" not in spec(api)


@pytest.mark.parametrize("words", [["git", "checkout", "--", "a"], ["rm", "--", "-f"], ["sh", "-c", "x", "--", "--", "y"]])
def test_every_word_after_the_first_dashes_reaches_the_command(words: list[str]) -> None:
    assert cli._arguments(["exec", "shop", "-i", "--", *words]).words == words


def test_connection_flags_are_taken_before_and_after_the_verb() -> None:
    for words in (
        ["-n", "team", "--context", "c", "list"],
        ["list", "-n", "team", "--context", "c"],
        ["-n", "x", "--context", "c", "list", "-n", "team"],
    ):
        arguments = cli._arguments(words)
        assert (arguments.namespace, arguments.context, arguments.kubeconfig) == ("team", "c", None)


@pytest.mark.parametrize(("text", "seconds"), [("1h30m", 5400), ("90", 90), ("1.5h", 5400), ("0.2s", 1), ("2d", 172800)])
def test_durations_may_have_several_parts(text: str, seconds: int) -> None:
    assert cli._duration(text) == seconds
