from __future__ import annotations

from typing import Any

import pytest

from sandbox_operator.render.cel import CelError, Environment

DATA: dict[str, Any] = {"schema": {"spec": {"port": 3000, "flag": True, "ratio": 1.5, "none": None, "list": ["a"]}}}


def run(text: str) -> Any:
    return Environment(["schema"]).compile(text)(DATA)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("schema.spec.port", 3000),
        ("schema.spec.flag", True),
        ("schema.spec.ratio", 1.5),
        ("schema.spec.none", None),
        ("string(schema.spec.port)", "3000"),
        ("schema.spec.?absent.orValue('x')", "x"),
        ("[?schema.spec.?absent, 'x']", ["x"]),
        ("{?'a': schema.spec.?absent, 'b': {'c': [1]}}", {"b": {"c": [1]}}),
        ("schema.spec.list.map(e, {'name': e})", [{"name": "a"}]),
        ("['a', 'b'].join(',')", "a,b"),
        ("base64.encode(b'x')", "eA=="),
    ],
)
def test_values_keep_their_type(text: str, value: Any) -> None:
    assert run(text) == value


@pytest.mark.parametrize(
    "text", ["schema.spec.absent", "1 / 0", "schema.spec.port + 'x'", "schema.spec.?absent", "b'x'", "duration('3s')", "{1: 'a'}"]
)
def test_a_failure_while_running_is_an_error_not_a_value(text: str) -> None:
    program = Environment(["schema"]).compile(text)
    with pytest.raises(CelError):
        program(DATA)


@pytest.mark.parametrize(("text", "line", "column"), [("1 +", 1, 4), ("unknown.x", 1, 8), ("1 +\n  'a' -", 2, 8)])
def test_a_broken_expression_is_named_with_its_place(text: str, line: int, column: int) -> None:
    with pytest.raises(CelError) as caught:
        Environment(["schema"]).compile(text)
    assert (caught.value.line, caught.value.column) == (line, column)
