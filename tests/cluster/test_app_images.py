"""App images that hold nothing of ours, of kinds that people bring: each has all that a runner is for, or says what it lacks."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from devcluster.images.definition import Image
from sandbox_client import NeverReady, blocking
from sandbox_protocol import names
from tests.harness import images
from tests.harness.cluster import Cluster

SERVER = """
const http = require("http"), fs = require("fs")
console.log("the shop is open")
http.createServer((asked, answer) => answer.end(fs.readFileSync("index.html"))).listen(process.env.PORT)
"""
GO = """package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	fmt.Println("the shop is open")
	http.Handle("/", http.FileServer(http.Dir(".")))
	panic(http.ListenAndServe(":"+os.Getenv("PORT"), nil))
}
"""
PAGE = {"index.html": "<p>first"}


@dataclass(frozen=True)
class Kind:
    """``command`` is none where detection finds it; ``lacks`` are programs that other images have."""

    image: Image
    files: dict[str, str]
    command: list[str] | None = None
    lacks: tuple[str, ...] = ()


KINDS = {
    "slim": Kind(
        images.SLIM,
        {**PAGE, "package.json": '{"name": "shop", "scripts": {"start": "node server.js"}}', "server.js": SERVER},
        lacks=("python3", "curl", "ps"),
    ),
    "musl": Kind(images.MUSL, PAGE, ["shop"], lacks=("bash", "python3", "ldconfig")),
    "shell": Kind(images.SHELL, PAGE, ["shop"], lacks=("bash", "python3", "ls")),
    "go": Kind(images.GO, {**PAGE, "go.mod": "module shop\n\ngo 1.26\n", "main.go": GO}, ["go", "run", "."], lacks=("python3",)),
}
ALL = {**{name: kind.image for name, kind in KINDS.items()}, "bare": images.BARE, "foreign": images.FOREIGN}


@pytest.fixture(scope="module")
def references(cluster: Cluster) -> dict[str, str]:
    return {name: images.loaded(cluster.state, image) for name, image in ALL.items()}


@pytest.fixture(scope="module")
def template(cluster: Cluster, references: dict[str, str]) -> Iterator[str]:
    """A copy of the default one that allows these images, which nobody signed."""
    name = f"images-{secrets.token_hex(3)}"
    spec = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)["spec"]
    spec["bounds"] = {**spec["bounds"], "images": sorted(references.values()), "signatures": None}
    api = f"{names.GROUP}/{names.VERSION}"
    cluster.apply({"apiVersion": api, "kind": names.TEMPLATE_KIND, "metadata": {"name": name}, "spec": spec})
    yield name
    cluster.kubectl("delete", "sandboxtemplate", name)


Made = Callable[..., blocking.Sandbox]


@pytest.fixture
def made(client: blocking.Client, template: str, references: dict[str, str]) -> Iterator[Made]:
    """``made("slim", command=[…])``: applied, and gone after the test."""
    runners = []

    def make(image: str, **spec: Any) -> blocking.Sandbox:
        whole = {"templateRef": {"name": template}, "image": references[image], **spec}
        runners.append(client.apply(f"{image}-{secrets.token_hex(2)}", whole))
        return runners[-1]

    yield make
    for each in runners:
        each.delete()


def until(happened: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + 120
    while not (found := happened()):
        assert time.monotonic() < end, what
        time.sleep(0.5)
    return found


def why(sandbox: blocking.Sandbox) -> str:
    """Of an app that cannot work: what is said of it, and what its log holds."""
    with pytest.raises(NeverReady) as refused:
        sandbox.wait_app(timeout=120)
    return "\n".join([str(refused.value), *(record.text for record in sandbox.log_records())])


@pytest.mark.parametrize("name", KINDS)
def test_an_image_without_anything_of_ours_has_all_that_a_runner_is_for(made: Made, name: str) -> None:
    kind = KINDS[name]
    sandbox = made(name, **({} if kind.command is None else {"command": kind.command}))
    sandbox.wait_ready()
    sandbox.sync(kind.files)
    sandbox.wait_app(timeout=300)
    assert sandbox.proxy().body == b"<p>first"
    assert "the shop is open" in [record.text for record in sandbox.log_records()]
    sandbox.sync({"index.html": "<p>second"})
    assert sandbox.proxy().body == b"<p>second"
    # exec
    said = sandbox.exec("sh", "-c", "echo here: $PWD, $HOME; exit 3")
    assert (said.exit_code, said.stdout) == (3, b"here: /workspace, /home/sandbox\n"), said.stderr
    for program in kind.lacks:
        refused = sandbox.exec(program)
        assert (refused.exit_code, f"exec: {program}: this image has no such program" in refused.stderr.decode()) == (127, True)
    # restart
    before = sandbox.status().process.pid
    sandbox.restart()
    assert sandbox.wait_app(timeout=120).process.pid != before
    # ended by a signal of a session, and back again
    before = sandbox.status().process.pid
    ended = sandbox.exec("sh", "-c", f"kill {before}")
    assert (ended.exit_code, ended.stderr) == (0, b"")
    until(lambda: sandbox.status().process.pid not in (before, None), "the app does not come back")
    sandbox.wait_app(timeout=120)
    assert sandbox.proxy().body == b"<p>second"


def test_the_user_and_the_folders_are_the_runner_s_whatever_the_image_says(made: Made) -> None:
    """The image has no /etc/passwd, no /tmp and no PATH, and would run as 65532."""
    sandbox = made("shell", command=["shop"])
    sandbox.wait_ready()
    script = """while read -r name value rest; do [ "$name" = Uid: ] && echo $value; done < /proc/self/status
echo kept > /tmp/file && read -r word < /tmp/file && echo $word
echo kept > $HOME/file && read -r word < $HOME/file && echo $word
echo lost > /file || echo refused"""
    said = sandbox.exec("sh", "-c", script)
    assert said.stdout.decode().split() == ["1000", "kept", "kept", "refused"], said.stderr
    assert b"Read-only file system" in said.stderr


def test_an_image_without_a_shell_runs_a_program_and_says_what_it_cannot_do(made: Made) -> None:
    sandbox = made("bare", command=["/shop"])
    sandbox.wait_ready()
    sandbox.sync(PAGE)
    sandbox.wait_app(timeout=120)
    assert sandbox.proxy().body == b"<p>first"
    assert "the shop is open" in [record.text for record in sandbox.log_records()]
    said = sandbox.exec("sh", "-c", "true")
    assert (said.exit_code, said.stderr) == (
        127,
        b"exec: sh: this image has no shell; choose an image with one, or a command that needs none\n",
    )


def test_what_needs_a_shell_says_that_there_is_none_and_the_entry_point_is_not_run(made: Made) -> None:
    sandbox = made("bare")
    sandbox.wait_ready()
    sandbox.sync({**PAGE, "package.json": '{"name": "shop", "scripts": {"start": "node server.js"}}', "server.js": SERVER})
    told = why(sandbox)
    assert re.search("this image has no (shell|such program)", told), told
    assert "the shop is open" not in told


def test_a_static_site_says_what_an_image_needs_to_serve_it(made: Made) -> None:
    sandbox = made("shell")
    sandbox.wait_ready()
    sandbox.sync(PAGE)
    assert "this image has neither python3 nor npx" in why(sandbox)


def test_programs_for_another_processor_are_told_as_such(made: Made) -> None:
    sandbox = made("foreign", command=["shop"])
    sandbox.wait_ready()
    sandbox.sync(PAGE)
    assert "another processor's" in why(sandbox)
    said = sandbox.exec("sh")
    assert (said.exit_code, "another processor's" in said.stderr.decode()) == (126, True)
