from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from sandbox_client.credentials import TOKEN_FILE_SECONDS, Credentials
from sandbox_client.errors import ConfigError
from sandbox_client.kubeconfig import Connection, ExecPlugin


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_token_file_is_read_again_when_it_is_old(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    clock = Clock()
    credentials = Credentials(Connection("https://h", token_file=file), clock=clock)
    assert (await credentials.current()).token == "first"
    file.write_text("second")
    assert (await credentials.current()).token == "first"
    clock.now += TOKEN_FILE_SECONDS
    assert (await credentials.current()).token == "second"


def plugin(program: str, **more: str) -> ExecPlugin:
    return ExecPlugin(sys.executable, ("-c", program), tuple(more.items()))


async def test_a_plugin_is_run_with_its_environment_and_asked_again_after_expiry() -> None:
    program = (
        "import json, os; info = json.loads(os.environ['KUBERNETES_EXEC_INFO']); assert info['kind'] == 'ExecCredential';"
        "print(json.dumps({'status': {'token': os.environ['WHO'], 'expirationTimestamp': '1970-01-01T00:30:00Z'}}))"
    )
    clock = Clock()
    credentials = Credentials(Connection("https://h", exec_plugin=plugin(program, WHO="alice")), clock=clock)
    first = await credentials.current()
    assert first.token == "alice"
    assert await credentials.current() is first
    clock.now = 1800.0
    assert await credentials.current() is not first


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import sys; sys.stderr.write('no login'); sys.exit(3)", "ended with 3: no login"),
        ("print('hello')", "printed no ExecCredential"),
        (f"print({json.dumps('[]')})", "printed no ExecCredential"),
    ],
)
async def test_a_plugin_that_fails_is_named(program: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        await Credentials(Connection("https://h", exec_plugin=plugin(program))).current()


async def test_a_missing_plugin_shows_its_install_hint() -> None:
    with pytest.raises(ConfigError, match="get it from there"):
        await Credentials(
            Connection("https://h", exec_plugin=ExecPlugin("no-such-program-here", install_hint="get it from there"))
        ).current()


def test_only_what_can_change_is_worth_asking_again_after_a_refusal(tmp_path: Path) -> None:
    assert not Credentials(Connection("https://h", token="t")).refuse()
    assert Credentials(Connection("https://h", token_file=tmp_path)).refuse()
