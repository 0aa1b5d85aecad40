from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_operator.controller.conditions import Condition
from sandbox_operator.controller.status import Report, merge_patch, status

RUNNER: dict[str, Any] = {"metadata": {"uid": "0f0e0d0c-0b0a-4908-8706-050403020100", "generation": 3}}
REPORT = Report(
    [Condition("Ready", "True", "Ready", "m")], "3000-x.preview.test", image="a@sha256:1", revision="7-0123456789abcdef"
)


def test_status_says_where_the_runtime_is() -> None:
    made = status(RUNNER, REPORT, "now")
    assert made["refs"] == {
        "namespace": "sandbox-0f0e0d0c-0b0a-4908-8706-050403020100",
        "previewService": "preview",
        "controlService": "control",
        "controlSecret": "control",
    }
    assert (made["observedGeneration"], made["preview"], made["image"]) == (3, {"host": "3000-x.preview.test"}, "a@sha256:1")
    assert made["workspace"] == {"revision": "7-0123456789abcdef"}


def test_what_was_known_of_the_workspace_is_kept_while_nobody_can_be_asked() -> None:
    before = {**RUNNER, "status": status(RUNNER, REPORT, "now")}
    made = status(before, Report(REPORT.conditions, REPORT.preview_host), "later")
    assert (made["image"], made["workspace"]) == ("a@sha256:1", {"revision": "7-0123456789abcdef"})


def test_processes_are_shown_while_their_pod_is_there() -> None:
    lines = [{"name": "web", "state": "Running"}]
    before = {**RUNNER, "status": status(RUNNER, replace(REPORT, processes=lines), "now")}
    assert before["status"]["processes"] == lines
    assert merge_patch(before["status"], status(before, REPORT, "now")) == {"processes": None}


def test_refs_that_somebody_forged_are_put_right() -> None:
    forged = {**RUNNER, "status": {"refs": {"namespace": "kube-system"}, "extra": 1}}
    patch = merge_patch(forged["status"], status(forged, REPORT, "now"))
    assert patch["refs"]["namespace"] == "sandbox-0f0e0d0c-0b0a-4908-8706-050403020100"
    assert patch["extra"] is None


def test_an_unchanged_status_needs_no_patch() -> None:
    made = status(RUNNER, REPORT, "now")
    assert merge_patch(made, status({**RUNNER, "status": made}, REPORT, "later")) == {}


def applied(target: Any, patch: Any) -> Any:
    """RFC 7386, as it is written there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = applied(result.get(name), value)
    return result


VALUES = st.recursive(
    st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
)


@given(VALUES, st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3))
def test_a_patch_turns_what_is_into_what_is_wanted(present: Any, wanted: dict[str, Any]) -> None:
    assert applied(present if isinstance(present, dict) else {}, merge_patch(present, wanted)) == wanted


@pytest.mark.parametrize("present", [None, [], "x"])
def test_a_status_that_is_no_object_is_replaced(present: Any) -> None:
    assert merge_patch(present, {"a": 1}) == {"a": 1}
