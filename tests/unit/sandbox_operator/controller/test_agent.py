"""The agent's answer comes from an untrusted pod: whatever it is, it becomes well-formed or nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_operator.controller.agent import parse
from sandbox_operator.controller.pods import Why

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def app(**condition: Any) -> Any:
    return {"conditions": [{"type": "Other"}, {"type": "AppReady", **condition}]}


def test_a_ready_app_has_no_problem() -> None:
    assert parse(app(status="True", reason="Ready"), NOW).app is None


def test_the_agents_reason_and_message_are_shown() -> None:
    assert parse(app(status="False", reason="AwaitingFirstSync", message="waits"), NOW).app == Why("AwaitingFirstSync", "waits")


@pytest.mark.parametrize("reason", ["", "has space", "x" * 65, "<script>", 7, None])
def test_a_reason_that_is_no_word_is_replaced(reason: Any) -> None:
    why = parse(app(status="False", reason=reason), NOW).app
    assert why is not None
    assert why.reason == "NotReady"


def test_an_app_that_answers_elsewhere_says_where() -> None:
    said = parse(app(status="True", reason="Ready", message="listens on port 4321, not on PORT (3000)"), NOW)
    assert (said.app, said.fine) == (None, "listens on port 4321, not on PORT (3000)")


def test_a_message_keeps_its_lines_and_nothing_that_moves_a_cursor() -> None:
    assert parse(app(status="False", reason="X", message="a\x1b[2Jb\nc\x9bd"), NOW).app == Why("X", "a [2Jb\nc d")


def test_a_long_message_is_cut() -> None:
    why = parse(app(status="False", reason="X", message="m" * 10_000), NOW).app
    assert why is not None
    assert len(why.message) == 500


@pytest.mark.parametrize(
    ("revision", "kept"), [("7-0123456789abcdef", "7-0123456789abcdef"), ("x", ""), (None, ""), ("7-0123456789abcdef\n", "")]
)
def test_only_a_revision_is_taken_for_one(revision: Any, kept: str) -> None:
    assert parse({"revision": revision}, NOW).revision == kept


def test_activity_in_the_future_is_now() -> None:
    assert parse({"lastActivity": "2999-01-01T00:00:00Z"}, NOW).last_activity == NOW
    assert parse({"lastActivity": "2026-06-01T11:00:00Z"}, NOW).last_activity == datetime(2026, 6, 1, 11, tzinfo=UTC)


def process(**fields: Any) -> Any:
    return {"processes": [{"name": "web", "state": "Running", **fields}]}


def test_processes_are_shown_a_line_each() -> None:
    said = process(ready=True, port=3000, restarts=2, message="a line\nand more")
    assert [one.to_json() for one in parse(said, NOW).processes] == [
        {"name": "web", "state": "Running", "ready": True, "port": 3000, "restarts": 2, "message": "a line"}
    ]


@pytest.mark.parametrize("odd", [{"name": "Not A Name"}, {"name": None}, {"state": "no state"}, {"state": 1}])
def test_what_is_no_process_is_left_out(odd: Any) -> None:
    assert parse(process(**odd), NOW).processes == ()


@pytest.mark.parametrize("odd", [{"port": 70_000}, {"port": True}, {"restarts": -1}, {"ready": "yes"}, {"message": 7}])
def test_odd_values_of_a_process_are_left_out(odd: Any) -> None:
    (one,) = parse(process(**odd), NOW).processes
    assert one.to_json() == {"name": "web", "state": "Running", "ready": False, "restarts": 0, "message": ""}


def test_a_name_that_is_told_twice_is_shown_once_and_a_long_list_is_cut() -> None:
    said = {"processes": [{"name": "web", "state": "Running"}] * 2 + [{"name": f"p{n}", "state": "Exited"} for n in range(99)]}
    assert len(parse(said, NOW).processes) == 8


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["conditions", "processes", "name", "state", "type", "status", "revision", "lastActivity", "AppReady"]
            ),
            inner,
            max_size=3,
        )
    ),
)


@given(JSON)
def test_no_answer_is_too_odd(answer: Any) -> None:
    parse(answer, NOW)
