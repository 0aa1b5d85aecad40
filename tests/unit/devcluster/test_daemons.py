"""A daemon is known by pid and start time, and is started anew exactly when what it should be has changed."""

import os
from pathlib import Path

import pytest

from devcluster import daemons
from devcluster.daemons import Daemon, Identity, alive, parse_stat


def stat(pid: int = 7, command: str = "etcd", letter: str = "S", started: int = 4711) -> str:
    fields = ["0"] * 50
    fields[0], fields[19] = letter, str(started)
    return f"{pid} ({command}) {' '.join(fields)}"


@pytest.mark.parametrize("command", ["etcd", "a b", "tmux: (1) x", ") S 1", "(sd-pam)"])
def test_a_stat_line_is_read_whatever_the_command_is_called(command: str) -> None:
    assert parse_stat(stat(command=command)) == (Identity(7, 4711), "S")


def test_this_process_is_alive_and_one_of_its_pid_from_another_time_is_not() -> None:
    me, _ = parse_stat(Path("/proc/self/stat").read_text())
    assert me.pid == os.getpid()
    assert alive(me)
    assert not alive(Identity(me.pid, me.started + 1))


def test_a_record_cut_off_by_a_kill_counts_as_never_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemons, "RECORDS", tmp_path)
    (tmp_path / "etcd").write_text(stat() + "\n")
    assert daemons.recorded("etcd") is None
    (tmp_path / "etcd").write_text(stat() + "\nabc\n")
    assert daemons.recorded("etcd") == (Identity(7, 4711), "abc")
    assert daemons.recorded("absent") is None


def test_the_digest_follows_command_line_environment_and_config(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("a")
    base = Daemon("x", ["x", "--y"], [config], {"A": "1"}).digest()
    assert Daemon("x", ["x", "--y"], [config], {"A": "1"}).digest() == base
    assert Daemon("x", ["x", "--z"], [config], {"A": "1"}).digest() != base
    assert Daemon("x", ["x", "--y"], [config], {"A": "2"}).digest() != base
    config.write_text("b")
    assert Daemon("x", ["x", "--y"], [config], {"A": "1"}).digest() != base


def test_the_end_of_a_log_is_shown_with_its_path(tmp_path: Path) -> None:
    from devcluster.settings import State

    state = State(tmp_path)
    state.logs.mkdir()
    daemons.log_path(state, "etcd").write_text("\n".join(f"line {n}" for n in range(100)))
    shown = daemons.tail(state, "etcd", lines=2).splitlines()
    assert shown == [f"--- {tmp_path}/log/etcd.log", "line 98", "line 99"]
    assert daemons.tail(state, "absent").endswith("(absent)")
