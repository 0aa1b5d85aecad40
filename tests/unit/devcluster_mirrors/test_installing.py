"""Servers are installed once for each content of their lock."""

from pathlib import Path

import pytest

from devcluster.mirrors import installing


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_filled_once_and_anew_when_the_lock_changes(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("1")
    filled: list[Path] = []
    first = installing._once("x", [lock], filled.append)
    assert installing._once("x", [lock], filled.append) == first
    lock.write_text("2")
    assert installing._once("x", [lock], filled.append) != first
    assert len(filled) == 2


def test_an_installation_that_was_cut_short_starts_from_an_empty_folder(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("1")

    def half(folder: Path) -> None:
        (folder / "half").touch()
        raise installing.MirrorError("no network")

    with pytest.raises(installing.MirrorError):
        installing._once("x", [lock], half)
    seen: list[list[Path]] = []
    installing._once("x", [lock], lambda folder: seen.append(list(folder.iterdir())))
    assert seen == [[]]


def test_a_failing_command_shows_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(installing.MirrorError, match="ended with 3:\ngone wrong"):
        installing._run(["sh", "-c", "echo gone wrong; exit 3"], tmp_path)
