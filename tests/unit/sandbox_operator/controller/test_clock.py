from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sandbox_operator.controller.clock import due, idle_for, parse_time
from sandbox_operator.errors import SpecInvalid
from sandbox_operator.model.record import read
from sandbox_operator.model.runner import RunnerSpec

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def spec(mode: str = "Running", **lifecycle: str) -> RunnerSpec:
    return read(RunnerSpec, {"operatingMode": mode, "lifecycle": lifecycle})


def test_without_times_only_the_wish_counts() -> None:
    assert due(spec(), NOW).suspended is None
    suspended = due(spec("Suspended"), NOW).suspended
    assert suspended is not None
    assert suspended.reason == "Suspended"


def test_before_its_time_a_runner_is_looked_at_when_it_comes() -> None:
    made = due(spec(shutdownTime="2026-06-01T12:00:30Z"), NOW)
    assert (made.suspended, made.delete, made.next_in) == (None, False, 30.0)


def test_after_its_time_the_workspace_is_kept_by_default() -> None:
    made = due(spec(shutdownTime="2026-06-01T13:00:00+02:00"), NOW)
    assert made.suspended is not None
    assert made.suspended.reason == "ShutdownTime"
    assert not made.delete


def test_the_policy_delete_deletes() -> None:
    assert due(spec(shutdownTime="2026-06-01T11:59:59Z", shutdownPolicy="Delete"), NOW).delete


@pytest.mark.parametrize("text", ["tomorrow", "2026-06-01T12:00:00", ""])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SpecInvalid, match=r"spec\.lifecycle\.shutdownTime"):
        due(spec(shutdownTime=text), NOW)


def test_idleness_is_counted_from_the_last_activity() -> None:
    assert idle_for("30m", datetime(2026, 6, 1, 11, 45, tzinfo=UTC), NOW) == 15 * 60
    assert idle_for("30m", datetime(2026, 6, 1, 11, 0, tzinfo=UTC), NOW) < 0


def test_times_have_an_offset() -> None:
    assert parse_time("2026-06-01T12:00:00Z") == NOW
    assert parse_time("2026-06-01T12:00:00") is None
