"""What of a folder travels, and what stays out with which reason."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from sandbox_client import tree as tree_module
from sandbox_client.errors import LocalFileError
from sandbox_client.tree import scan


def fill(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


def kinds(root: Path) -> dict[str, str]:
    return {item.path: item.kind for item in scan(root).left_out}


def test_what_tools_and_editors_make_stays_out(tmp_path: Path) -> None:
    made = ("__pycache__/a.pyc", "web/.next/x", ".DS_Store", "4913", "src/.a.js.swp", "src/a.js~", "env/pyvenv.cfg", "env/bin/x")
    fill(tmp_path, "src/a.js", "web/node_modules/x/i.js", ".agent/rules/a.md", *made)
    (tmp_path / "src/.#a.js").symlink_to("me@host.1")
    assert list(scan(tmp_path).entries) == [".agent/rules/a.md", "src/a.js"]
    assert kinds(tmp_path)["env"] == kinds(tmp_path)["web/node_modules"] == "dependencies"


def test_secrets_stay_out_unless_the_caller_takes_them(tmp_path: Path) -> None:
    fill(tmp_path, ".env", ".env.local", "api/.env.production.local", ".env.example", "a")
    (tmp_path / ".gitignore").write_text(".env*\n!.env.example\n")
    assert list(scan(tmp_path).entries) == [".env.example", ".gitignore", "a"]
    assert kinds(tmp_path) == {".env": "secret", ".env.local": "secret", "api/.env.production.local": "secret"}
    assert {".env", ".env.local", "api/.env.production.local"} <= scan(tmp_path, include_env=True).entries.keys()


def test_sandboxignore_takes_back_and_takes_out(tmp_path: Path) -> None:
    fill(tmp_path, "dist/a", "notes.md", ".env")
    (tmp_path / ".gitignore").write_text("dist\n")
    (tmp_path / ".sandboxignore").write_text("!dist\n!.env\nnotes.md\n")
    assert list(scan(tmp_path).entries) == [".env", ".gitignore", ".sandboxignore", "dist/a"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is asked what it tracks")
def test_what_git_tracks_travels_though_it_is_ignored(tmp_path: Path) -> None:
    fill(tmp_path, "dist/kept", "dist/deep/kept", "dist/deep/other", "dist/other", ".env", "src/__pycache__/x")
    (tmp_path / ".gitignore").write_text("dist\n")
    for words in (["init", "-q"], ["add", "-f", "dist/kept", "dist/deep/kept", ".env", "src/__pycache__/x"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True)
    assert list(scan(tmp_path).entries) == [".env", ".gitignore", "dist/deep/kept", "dist/kept"]


def test_what_cannot_travel_is_skipped_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a", "gone", "locked")
    (tmp_path / "absolute").symlink_to("/usr/bin/python3")
    (tmp_path / "out").symlink_to("../outside")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "short").symlink_to("a")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)
        listening.bind("sock")
    real = tree_module._file

    def read(path: str, file: str) -> object:
        if path == "gone":
            raise FileNotFoundError(2, "No such file", file)
        if path == "locked":
            raise PermissionError(13, "Permission denied", file)
        return real(path, file)

    monkeypatch.setattr(tree_module, "_file", read)
    assert list(scan(tmp_path).entries) == ["a", "short"]
    expected = {
        "absolute": "link",
        "out": "link",
        "pipe": "special",
        "sock": "special",
        "gone": "unreadable",
        "locked": "unreadable",
    }
    assert kinds(tmp_path) == expected


def test_the_home_folder_and_what_holds_it_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home/me"
    (home / "app").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    for folder in (home, home.parent, Path("/")):
        with pytest.raises(LocalFileError, match="name the project's own folder"):
            scan(folder)
    assert scan(home / "app").entries == {}
