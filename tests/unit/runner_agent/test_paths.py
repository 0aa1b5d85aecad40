from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner_agent import paths
from runner_agent.paths import RefusedError

COMPONENTS = st.sampled_from(["..", ".", "", "a", "b.txt", "…", "\0", "x" * 255, "x" * 256, "é" * 127, "é" * 128, ".agent", " "])


@pytest.mark.parametrize(
    ("raw", "meant"),
    [
        ("a", "a"),
        ("./a/b", "a/b"),
        ("a/b/", "a/b"),
        (".", ""),
        ("./", ""),
        ("a/.agent", "a/.agent"),
        (".agent/rules/a.md", ".agent/rules/a.md"),
        ("...", "..."),
        ("a\\b", "a\\b"),
        ("…/é", "…/é"),
    ],
)
def test_accepted_spellings(raw: str, meant: str) -> None:
    assert paths.parse(raw) == meant


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("../a", "InvalidPath"),
        ("a/../b", "InvalidPath"),
        ("a/..", "InvalidPath"),
        ("..", "InvalidPath"),
        ("/etc/passwd", "InvalidPath"),
        ("//a", "InvalidPath"),
        ("a\0b", "InvalidPath"),
        ("", "InvalidPath"),
        ("a//b", "InvalidPath"),
        ("a/./b", "InvalidPath"),
        ("caf\udce9", "InvalidPath"),
        ("x" * 256, "PathTooLong"),
        ("é" * 128, "PathTooLong"),
        ("a/" * 600 + "a", "PathTooLong"),
    ],
)
def test_refused_paths_name_the_entry(raw: str, reason: str) -> None:
    with pytest.raises(RefusedError) as refused:
        paths.parse(raw)
    assert refused.value.cause.reason == reason
    assert refused.value.cause.field == paths.shown(raw)


@given(st.lists(COMPONENTS, max_size=6).map("/".join) | st.text())
def test_whatever_is_accepted_lies_below_the_workspace(raw: str) -> None:
    try:
        path = paths.parse(raw)
    except RefusedError:
        return
    if path:
        assert posixpath.normpath(f"/w/{path}") == f"/w/{path}"
        assert len(path.encode()) <= 1024
        assert all(len(part.encode()) <= 255 for part in path.split("/"))
        assert paths.parse(path) == path


@pytest.mark.parametrize(
    ("path", "target"),
    [("a", "b"), ("a/b", "../c"), ("a/b/c", "../../d/e"), ("a", "."), ("a", "./b/"), ("a/b", ".."), ("a", "...")],
)
def test_links_that_stay_inside_are_accepted(path: str, target: str) -> None:
    paths.check_link(path, target)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("a", "/etc/passwd"),
        ("a", ".."),
        ("a", "../x"),
        ("a/b", "../../x"),
        ("a", "b/.."),
        ("a", "b/../../x"),
        ("a", "./../x"),
        ("a", ""),
        ("a", "b\0"),
        ("a", "x" * 1025),
        ("a", "\udc80"),
    ],
)
def test_links_that_could_leave_are_refused(path: str, target: str) -> None:
    with pytest.raises(RefusedError) as refused:
        paths.check_link(path, target)
    assert refused.value.cause.reason == "InvalidLink"


@given(st.text())
def test_a_shown_name_cannot_break_a_line_or_an_encoding(text: str) -> None:
    shown = paths.shown(text)
    assert shown.isprintable()
    shown.encode()


def test_ancestors_are_listed_from_the_top() -> None:
    assert paths.ancestors("a/b/c") == (
        "a",
        "a/b",
    )
    assert paths.ancestors("a") == ()
