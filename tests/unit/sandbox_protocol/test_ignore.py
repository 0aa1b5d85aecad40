"""The rules that client and agent share."""

from __future__ import annotations

import time

import pytest

from sandbox_protocol.ignore import MAX_BYTES, MAX_PATTERNS, Ignore


@pytest.mark.parametrize(
    ("text", "path", "ignored"),
    [
        ("", "src/App.jsx", False),
        ("", "node_modules/react/index.js", True),
        ("", "packages/a/node_modules", True),
        ("", "node_modules.txt", False),
        ("!node_modules", "node_modules/x", True),
        ("", ".git/config", True),
        ("", ".gitignore", False),
        ("*.log", "a.log", True),
        ("*.log", "deep/down/a.log", True),
        ("*.log", "a.logs", False),
        ("/dist", "dist/a.js", True),
        ("/dist", "web/dist/a.js", False),
        ("build/", "build/x", True),
        ("build/", "build", False),
        ("web/build", "web/build/x", True),
        ("web/build", "other/web/build/x", False),
        ("web/**/cache", "web/cache", True),
        ("web/**/cache", "web/a/b/cache", True),
        ("web/**/cache", "web/a/b/cached", False),
        ("**/tmp", "a/tmp", True),
        ("logs/**", "logs/a", True),
        ("*.log\n!keep.log", "keep.log", False),
        ("!keep.log\n*.log", "keep.log", True),
        ("out\n!out/keep", "out/keep", True),
        ("# a comment\n\n  \n", "# a comment", False),
        ("\\#odd", "#odd", True),
        ("file?.txt", "file1.txt", True),
        ("file[0-9].txt", "filex.txt", False),
        ("/", "anything", False),
    ],
)
def test_a_path_is_ignored_as_git_would(text: str, path: str, ignored: bool) -> None:
    assert Ignore.parse(text).ignores(path) is ignored


def test_a_directory_pattern_matches_the_directory_itself() -> None:
    assert Ignore.parse("build/").ignores("build", directory=True)


def test_rules_over_a_bound_are_refused() -> None:
    with pytest.raises(ValueError, match="larger than"):
        Ignore.parse("a" * (MAX_BYTES + 1))
    with pytest.raises(ValueError, match="patterns"):
        Ignore.parse("a\n" * (MAX_PATTERNS + 1))


def test_a_hostile_pattern_does_not_take_exponential_time() -> None:
    rules = Ignore.parse("a*" * 100 + "b\n" + "**/a/" * 200 + "b")
    started = time.process_time()
    assert not rules.ignores("/".join(["a" * 200] + ["a"] * 400))
    assert time.process_time() - started < 1
