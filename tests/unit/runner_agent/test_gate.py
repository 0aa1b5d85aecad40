import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner_agent import gate
from runner_agent.gate import GateError, parse_targets, reachable, run_gate
from sandbox_protocol.names import GATE_NOT_FENCED

FORBIDDEN = "10.96.0.1:443"  # never dialled here: the tests that need silence play it


@pytest.fixture
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def refusing() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def environment(folder: Path, targets: str, seconds: str = "0") -> dict[str, str]:
    program = folder / "built"
    program.write_bytes(b"\x7fELF, as far as a copy goes")
    places = {"SANDBOX_LAUNCHER": str(program), "SANDBOX_LAUNCHER_DIR": str(folder)}
    return {**places, "SANDBOX_GATE_TARGETS": targets, "SANDBOX_GATE_SECONDS": seconds}


def test_a_service_that_answers_keeps_the_gate_closed(tmp_path: Path, listening: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_gate(environment(tmp_path, listening)) == GATE_NOT_FENCED
    assert f"{listening} answers" in capsys.readouterr().err


def test_a_refusal_is_an_answer_too(tmp_path: Path, refusing: str) -> None:
    assert run_gate(environment(tmp_path, refusing)) == GATE_NOT_FENCED


def test_one_open_address_among_others_is_named(listening: str, refusing: str) -> None:
    assert sorted(reachable(parse_targets(f"{refusing} {listening}"), 1.0)) == sorted(parse_targets(f"{listening} {refusing}"))


def test_silence_opens_the_gate_and_hands_the_launcher_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "reachable", lambda _targets: [])
    assert run_gate(environment(tmp_path, FORBIDDEN)) == 0
    launcher = tmp_path / "launcher"
    assert launcher.read_bytes().startswith(b"\x7fELF")
    assert launcher.stat().st_mode & 0o777 == 0o555
    assert (tmp_path / "static_server.py").stat().st_mode & 0o777 == 0o444


def test_a_new_volume_has_its_folders_as_on_any_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "reachable", lambda _targets: [])
    data = tmp_path / "data"
    (data / "home").mkdir(parents=True, mode=0o700)
    assert run_gate({**environment(tmp_path, FORBIDDEN), "SANDBOX_DATA": str(data)}) == 0
    assert {path.name: path.stat().st_mode & 0o7777 for path in data.iterdir()} == {"tree": 0o755, "home": 0o700, "tmp": 0o1777}


def test_the_gate_waits_for_a_policy_that_comes_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [[("10.96.0.1", 443)], []]
    monkeypatch.setattr(gate, "reachable", lambda _targets: answers.pop(0))
    monkeypatch.setattr(gate, "PAUSE_SECONDS", 0)
    assert run_gate(environment(tmp_path, "10.96.0.1:443", "5")) == 0
    assert answers == []


@pytest.mark.parametrize("targets", ["kubernetes.default:443", "10.96.0.1", "10.96.0.1:0", "10.96.0.1:65536", "[::1:443x"])
def test_a_target_that_is_no_address_fails_the_gate(tmp_path: Path, targets: str) -> None:
    assert run_gate(environment(tmp_path, targets)) == 1
    with pytest.raises(GateError):
        parse_targets(targets)


def test_a_gate_without_targets_proves_nothing_and_fails(tmp_path: Path) -> None:
    assert run_gate({"SANDBOX_LAUNCHER_DIR": str(tmp_path)}) == 1


def test_both_address_families_are_read() -> None:
    assert parse_targets("10.96.0.1:443,[fd00::1]:6443") == [("10.96.0.1", 443), ("fd00::1", 6443)]
