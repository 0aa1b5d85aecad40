from __future__ import annotations

import pytest

from runner_agent import sync_ignore


def ignored(patterns: str, path: str, *, directory: bool = False) -> bool:
    return sync_ignore.parse(patterns.encode()).reason(path, directory=directory) is not None


@pytest.mark.parametrize("path", ["node_modules", "a/node_modules/b/c.js", ".git/config", "a/.git"])
def test_dependencies_and_history_stay_out_without_any_pattern(path: str) -> None:
    assert ignored("", path)


@pytest.mark.parametrize("path", [".gitignore", "node_modules.txt", "my_node_modules/a"])
def test_similar_names_take_part(path: str) -> None:
    assert not ignored("", path)


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        ("*.log", "a/b.log", True),
        ("*.log", "a/b.logs", False),
        ("/dist", "dist/a.js", True),
        ("/dist", "a/dist/b.js", False),
        ("dist", "a/dist/b.js", True),
        ("a/b", "a/b/c", True),
        ("a/b", "x/a/b", False),
        ("**/b", "x/y/b", True),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**", "a/x", True),
        ("# comment", "# comment", False),
        (r"\#x", "#x", True),
        ("*.env\n!keep.env", "keep.env", False),
        ("*.env\n!keep.env", "x.env", True),
        ("out/\n!out/keep", "out/keep", True),
        ("[ab].txt", "b.txt", True),
        ("  ", "a", False),
    ],
)
def test_patterns_mean_what_gitignore_says(patterns: str, path: str, expected: bool) -> None:
    assert ignored(patterns, path) is expected


def test_a_trailing_slash_means_directories_only() -> None:
    assert not ignored("build/", "build")
    assert ignored("build/", "build", directory=True)
    assert ignored("build/", "build/a")


def test_the_reason_names_the_topmost_ignored_entry_once() -> None:
    ignore = sync_ignore.parse(b"dist/")
    assert ignore.reason("a/node_modules/b/c") == ("a/node_modules", "node_modules is never synced")
    assert ignore.reason("dist/x/y") == ("dist", ".sandboxignore names it: dist/")


def test_a_hostile_pattern_costs_no_more_than_its_length() -> None:
    ignore = sync_ignore.parse((b"/".join([b"**", b"*a" * 100 + b"b"]) + b"\n") * 500 + b"**/" * 2000 + b"z")
    assert ignore.reason("/".join(["a" * 200] * 4 + ["b"])) is None


def test_an_endless_file_is_read_up_to_its_bounds() -> None:
    assert len(sync_ignore.parse(b"x\n" * 100_000).patterns) == sync_ignore.MAX_PATTERNS
