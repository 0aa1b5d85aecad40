"""The rules that client and agent share."""

from __future__ import annotations

import time

import pytest

from sandbox_protocol.ignore import MAX_BYTES, MAX_PATTERNS, parse


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
    assert parse(text.encode()).ignores(path) is ignored


def test_a_directory_pattern_matches_the_directory_itself() -> None:
    assert parse(b"build/").ignores("build", directory=True)


def test_what_is_over_a_bound_is_left_unread() -> None:
    assert not parse(b"#" * MAX_BYTES + b"\nlate").ignores("late")
    assert not parse(b"a\n" * MAX_PATTERNS + b"late").ignores("late")


def test_undecodable_bytes_match_nothing() -> None:
    assert not parse(b"\xff\xfe").ignores("a")


def test_the_reason_names_the_topmost_ignored_path_and_the_rule() -> None:
    rules = parse(b"*.log\n/out/")
    assert rules.reason("out/deep/a") == ("out", ".sandboxignore names it: /out/")
    assert rules.reason("web/node_modules/x") == ("web/node_modules", "node_modules is never synced")
    assert rules.reason("src/a") is None


def test_a_hostile_pattern_does_not_take_exponential_time() -> None:
    rules = parse(b"a*" * 100 + b"b\n" + b"**/a/" * 200 + b"b")
    started = time.process_time()
    assert not rules.ignores("/".join(["a" * 200] + ["a"] * 400))
    assert time.process_time() - started < 1
