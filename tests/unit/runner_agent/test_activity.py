from __future__ import annotations

import socket
import time

import pytest

from runner_agent.activity import Activity


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_780_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def test_it_begins_with_the_start_of_the_agent(clock: list[float]) -> None:
    assert Activity().to_json() == "2026-05-28T20:26:40Z"


def test_use_from_outside_moves_it(clock: list[float]) -> None:
    activity = Activity()
    clock[0] += 60
    activity.visited_from("10.244.0.7")
    assert activity.to_json() == "2026-05-28T20:27:40Z"
    clock[0] += 60
    activity.touch()
    assert activity.to_json() == "2026-05-28T20:28:40Z"


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])
def test_the_app_cannot_keep_itself_awake_over_loopback(clock: list[float], peer: str) -> None:
    activity = Activity()
    clock[0] += 60
    activity.visited_from(peer)
    assert activity.to_json() == "2026-05-28T20:26:40Z"


def test_the_app_cannot_keep_itself_awake_at_the_pods_own_address(clock: list[float]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no address beside loopback")
        own = probe.getsockname()[0]
    activity = Activity()
    clock[0] += 60
    activity.visited_from(own)
    assert activity.to_json() == "2026-05-28T20:26:40Z"
