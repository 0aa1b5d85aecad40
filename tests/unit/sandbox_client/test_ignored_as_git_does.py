"""300 rules, each held against a tree of odd names, by us and by `git check-ignore`."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from sandbox_client.leaving_out import Rules

FILES = (
    *(
        "a",
        "b.txt",
        "foo",
        "foo1",
        "foo*bar",
        "fooxbar",
        "[slug]",
        "s",
        "file1.txt",
        "filex.txt",
        "#odd",
        "!odd",
        "A.TXT",
        "end ",
        "end",
    ),
    *(
        "dist/keep.txt",
        "dist/drop.txt",
        "dist/deep/keep.txt",
        "app/[slug]/x",
        "app/s/x",
        "app/a/b/c",
        "logs/a.log",
        "logs/keep.log",
    ),
    *(
        "é/ü.txt",
        "é/a",
        "a b/c d",
        "x\\y",
        "build/out/a",
        "web/build/out",
        "web/cache/x",
        "web/a/cache/x",
        "web/a/b/cache",
        "tmp/foo/bar",
    ),
)

BY_HAND = (
    *(
        b"\xef\xbb\xbfdist",
        b"dist/**\n!dist/keep.txt",
        b"dist/**\n!dist/**/\n!dist/deep/keep.txt",
        b"file[^0-9].txt",
        b"file[!0-9].txt",
    ),
    *(
        b"app/\\[slug\\]/x",
        b"app/[slug]/x",
        b"foo\\*bar",
        b"foo*bar",
        b"end\\ ",
        b"end ",
        b"end",
        b"file[[:digit:]].txt",
        b"\\#odd",
        b"#odd",
    ),
    *(
        b"\\!odd",
        b"!odd",
        b"*.TXT",
        b"*.txt\r\ndist\r\n",
        b"\xc3\xa9/",
        b"?/a",
        b"??/a",
        b"[\xc3\xa9]*",
        b"build/",
        b"/build",
        b"build//",
    ),
    *(
        b"web/**/cache",
        b"**/cache",
        b"cache/**",
        b"**",
        b"*",
        b"/*",
        b"*\n!*/\n!*.txt",
        b"logs\n!logs/keep.log",
        b"logs/*\n!logs/keep.log",
    ),
    *(
        b"/*\n!/app\n/app/*\n!/app/s",
        b"a**",
        b"foo**/bar",
        b"tmp/**/bar",
        b"/",
        b"//",
        b"!",
        b"\\",
        b"foo\\",
        b"[",
        b"[a",
        b"[]a]",
        b"[a-]",
    ),
    *(
        b"[z-a]",
        b"[[:nonsense:]]",
        b"a/../b",
        b"./a",
        b" a",
        b"a\tb",
        b"x\\\\y",
        b"dist/deep",
        b"deep",
        b"**/",
        b"!dist/\ndist",
        b"\r\n\r\na",
    ),
)

ATOMS = (
    *("a", "b", "foo", "dist", "keep", ".txt", "*", "*", "**", "?", "/", "/", "/", "!", "[a-f]", "[!a]", "[^f]"),
    "[[:alpha:]]",
    "\\",
    " ",
)


def generated() -> list[bytes]:
    chance = random.Random(11)
    return [
        "\n".join("".join(chance.choices(ATOMS, k=chance.randint(1, 5))) for _ in range(2)).encode()
        for _ in range(300 - len(BY_HAND))
    ]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the judge")
def test_300_rules_are_judged_as_git_judges_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    root = tmp_path / "root"
    for file in FILES:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    subprocess.run(["git", "init", "-q", root], check=True)
    rules = [*BY_HAND, *generated()]
    assert len(rules) == 300
    for rule in rules:
        (root / ".gitignore").write_bytes(rule)
        asked = "\0".join(FILES).encode()
        command = ["git", "-C", str(root), "check-ignore", "--no-index", "--stdin", "-z"]
        done = subprocess.run(command, input=asked, capture_output=True, check=False)
        ignored = set(os.fsdecode(done.stdout).split("\0")) - {""}
        ours = Rules.of(root)
        assert {file for file in FILES if ours.ignores(file)} == ignored, rule


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the judge")
def test_rules_of_nested_folders_the_repository_above_and_its_excludes_count(tmp_path: Path) -> None:
    web = tmp_path / "apps/web"
    (web / "src").mkdir(parents=True)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("*.log\n/apps/web/out\n")
    (tmp_path / ".git/info/exclude").write_text("private\n")
    (web / "src/.gitignore").write_text("!keep.log\n/made\n")
    rules = Rules.of(web)
    told = {path: rules.ignores(path) for path in ("a.log", "out", "src/out", "src/keep.log", "src/made", "made", "src/private")}
    assert told == {
        "a.log": True,
        "out": True,
        "src/out": False,
        "src/keep.log": False,
        "src/made": True,
        "made": False,
        "src/private": True,
    }


@pytest.mark.skipif(shutil.which("git") is None, reason="git is asked what it tracks")
def test_a_repository_that_ignores_the_folder_itself_says_nothing_about_it(tmp_path: Path) -> None:
    (tmp_path / "build/shop").mkdir(parents=True)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("build/\n*.txt\n")
    assert not Rules.of(tmp_path / "build/shop").ignores("a.txt")
