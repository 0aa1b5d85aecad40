from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_operator.render.expressions import Expression, UnterminatedError, names_in, parse


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("plain", ("plain",)),
        ("", ("",)),
        ("${a.b}", (Expression("a.b", 0),)),
        ("x-${a}-y", ("x-", Expression("a", 2), "-y")),
        ("${a}${b}", (Expression("a", 0), Expression("b", 4))),
        ("${ {'k': {'x': 1}} }", (Expression("{'k': {'x': 1}}", 0),)),
        ("${'}' + \"}\"}", (Expression("'}' + \"}\"", 0),)),
        (r"${'\'}'}", (Expression(r"'\'}'", 0),)),
        ("$a {b} $", ("$a {b} $",)),
    ],
)
def test_strings_are_taken_apart(text: str, parts: tuple[str | Expression, ...]) -> None:
    assert parse(text).parts == parts


@pytest.mark.parametrize(("text", "start"), [("${", 0), ("ab${'}", 2), ("${a}${{}", 4)])
def test_an_open_expression_is_refused_with_its_place(text: str, start: int) -> None:
    with pytest.raises(UnterminatedError) as caught:
        parse(text)
    assert caught.value.start == start


def test_only_a_single_expression_is_whole() -> None:
    assert parse("${a}").whole is not None
    assert parse("${a} ").whole is None
    assert parse("plain").whole is None


@given(st.text(alphabet="ab${}'\"\\ ", max_size=40))
def test_taking_apart_loses_nothing_but_space_inside_braces(text: str) -> None:
    try:
        parts = parse(text).parts
    except UnterminatedError:
        return
    rebuilt = "".join(part if isinstance(part, str) else "${" + part.text + "}" for part in parts)
    assert rebuilt.replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("runner.metadata.name", {"runner"}),
        ("a.b + c", {"a", "c"}),
        ("'quoted a' + b", {"b"}),
        ("x.?y.orValue(z)", {"x", "z"}),
        ("has(schema.spec) ? 1 : two", {"has", "schema", "two"}),
        ("a .b", {"a"}),
    ],
)
def test_names_that_begin_a_reference_are_found(text: str, names: set[str]) -> None:
    assert names_in(text) == names
