"""What README and docs/client.md tell a newcomer to type, typed."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import subprocess
import textwrap
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from devcluster.kubectl import KubectlError
from devcluster.settings import REPOSITORY
from sandbox_client import SandboxError, blocking
from sandbox_client.kubeconfig import Connection
from tests.harness.cluster import Cluster
from tests.harness.fixtures import UserFactory

README, CLIENT = (REPOSITORY / name for name in ("README.md", "docs/client.md"))
_ENDLESS = re.compile(r"kubectl sandbox (logs -f|watch) ")
_LOOK_SECONDS = 6
"""At a command that ends with its terminal."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, user: UserFactory) -> Path:
    """A newcomer's folder: a kubeconfig, an app, and the manifest that the page speaks of."""
    folder = tmp_path_factory.mktemp("newcomer")
    for app in ("shop", "my-app"):
        (folder / app / "dist").mkdir(parents=True)
        (folder / app / "index.html").write_text(f"<h1>{app}</h1>")
        (folder / app / "dist" / "app.js").write_text("console.log('built')")
        (folder / app / "package-lock.json").write_text('{"lockfileVersion": 3}')
    example = yaml.safe_load((REPOSITORY / "examples" / "empty.yaml").read_text())
    (folder / "runner.yaml").write_text(yaml.safe_dump({**example, "metadata": {"name": "shop"}}))
    (folder / "kubeconfig").write_text(yaml.safe_dump(_kubeconfig(user("edit"))))
    return folder


@pytest.fixture(scope="module")
def environment(cluster: Cluster, home: Path) -> Mapping[str, str]:
    programs = f"{REPOSITORY / '.venv' / 'bin'}:{cluster.state.bin}:{os.environ['PATH']}"
    return {**os.environ, "KUBECONFIG": str(home / "kubeconfig"), "PATH": programs, "PYTHONPATH": str(REPOSITORY)}


def test_the_code_of_the_page_runs(cluster: Cluster, client: blocking.Client, home: Path, environment: Mapping[str, str]) -> None:
    first, *others = re.findall(r"```python\n(.*?)```", CLIENT.read_text(), re.DOTALL)
    # what follows the first block goes on with its client; "..." is where a reader's own code stands
    story = first + textwrap.indent("".join(others), "    ")
    source = f"import asyncio\n\nasync def story():\n{textwrap.indent(story, '    ')}\nasyncio.run(story())\n".replace(
        " ...", " break"
    )
    with _writing(cluster, client.sandbox("shop")):
        done = subprocess.run(
            ["python", "-c", source], cwd=home, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    assert done.returncode == 0, done.stderr
    assert "sandbox_token=" in done.stdout
    assert (home / "out" / "dist" / "app.js").read_text() == "console.log('built')"


def test_the_commands_of_the_readme_run(home: Path, environment: Mapping[str, str]) -> None:
    block = re.search(r"```\n(kubectl apply .*?)```", README.read_text(), re.DOTALL)
    assert block is not None
    printed = [_typed(line, home, environment) for line in block[1].splitlines()]
    assert "sandbox_token=" in printed[-1]


def test_every_command_of_the_plugin_s_page_runs(home: Path, environment: Mapping[str, str]) -> None:
    block = re.search(r"## kubectl sandbox\n```\n(.*?)```", CLIENT.read_text(), re.DOTALL)
    assert block is not None
    named = {"NAME": "shop", "[DIR]": "shop", "DIR": "exported", "[PATH…]": "dist", "PATH": "index.html", "[PROCESS]": "web"}
    named["--open"] = ""  # there is no desktop to open it on
    lines = [re.split(r"\s{2,}", line)[0] for line in block[1].splitlines()]
    for line in lines:
        _typed(re.sub("|".join(map(re.escape, named)), lambda found: named[found[0]], line), home, environment)
    assert (home / "exported" / "dist" / "app.js").exists()


@contextmanager
def _writing(cluster: Cluster, sandbox: blocking.Sandbox) -> Iterator[None]:
    """An app that changes a file every second, for whoever watches."""
    over = threading.Event()

    def write() -> None:
        while not over.wait(1):
            with contextlib.suppress(SandboxError, KubectlError, StopIteration):  # not there yet
                cluster.exec(sandbox, "sh", "-c", "date > /workspace/written-by-the-app.txt")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _typed(line: str, home: Path, environment: Mapping[str, str]) -> str:
    """In bash. An endless command is ended after a while; it must not end by itself."""
    endless = _ENDLESS.match(line)
    prefix = f"timeout {_LOOK_SECONDS} " if endless else ""
    done = subprocess.run(
        ["bash", "-c", prefix + line], cwd=home, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == (124 if endless else 0), f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _kubeconfig(user: Connection) -> dict[str, object]:
    cluster = {"server": user.server, "certificate-authority-data": base64.b64encode((user.ca_data or "").encode()).decode()}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "newcomer",
        "clusters": [{"name": "here", "cluster": cluster}],
        "users": [{"name": "newcomer", "user": {"token": user.token}}],
        "contexts": [{"name": "newcomer", "context": {"cluster": "here", "user": "newcomer", "namespace": user.namespace}}],
    }
