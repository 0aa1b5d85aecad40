from __future__ import annotations

from pathlib import Path

import pytest

from runner_agent.settings import AppSettings, Settings, SettingsError
from sandbox_protocol.limits import SyncLimits


def test_an_empty_environment_has_the_defaults_of_the_pod() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings()
    assert (settings.tree, settings.private) == (Path("/data/tree"), Path("/data/.agent"))


def test_the_environment_of_the_template_is_read() -> None:
    settings = Settings.from_environment(
        {
            "SANDBOX_DATA": "/d",
            "SANDBOX_CONTROL_DIR": "/c",
            "SANDBOX_APP": '{"command":["npm","run","dev"],"port":8080,"workingDir":"/workspace/app","languages":["go"]}',
            "SANDBOX_LIMITS": '{"files":7,"log_bytes":2000000}',
        }
    )
    assert (settings.data, settings.control_dir) == (Path("/d"), Path("/c"))
    assert settings.app == AppSettings(("npm", "run", "dev"), 8080, "/workspace/app", languages=("go",))
    assert settings.limits == SyncLimits(files=7)
    assert settings.log_bytes == 2_000_000


def test_a_null_or_empty_command_is_found_from_the_tree() -> None:
    for command in ("null", "[]"):
        assert Settings.from_environment({"SANDBOX_APP": f'{{"command":{command}}}'}).app.command is None


def test_a_process_may_begin_in_a_folder_of_its_own() -> None:
    api = '{"processes":[{"name":"api","command":["a"],"workingDir":"/workspace/api"},{"name":"worker","command":["b"]}]}'
    found = Settings.from_environment({"SANDBOX_APP": api}).app.processes
    assert [process.working_dir for process in found] == ["/workspace/api", None]


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("SANDBOX_APP", "{", "SANDBOX_APP"),
        ("SANDBOX_LIMITS", '{"log_bytes":1000}', "SANDBOX_LIMITS.log_bytes is 1000; at least 1048576"),
        ("SANDBOX_APP", "[]", "SANDBOX_APP"),
        ("SANDBOX_APP", '{"cmd":[]}', "cmd"),
        ("SANDBOX_APP", '{"command":"npm"}', "command"),
        ("SANDBOX_APP", '{"port":0}', "port"),
        ("SANDBOX_APP", '{"workingDir":"app"}', "workingDir"),
        ("SANDBOX_APP", '{"processes":[{"name":"api","command":["a"],"workingDir":"api"}]}', "workingDir of api"),
        ("SANDBOX_APP", '{"languages":"go"}', "languages"),
        ("SANDBOX_LIMITS", '{"file":1}', "file"),
        ("SANDBOX_LIMITS", '{"files":0}', "files"),
        ("SANDBOX_LIMITS", '{"files":true}', "files"),
        ("SANDBOX_LIMITS", '{"files":"many"}', "files"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Settings.from_environment({name: value})
