from __future__ import annotations

import pytest

from sandbox_operator.controller.isolation import Isolation, verdict

AGENT = {
    "kernel": "Linux",
    "userNamespace": True,
    "seccomp": "Filter",
    "noNewPrivileges": True,
    "capabilities": "0",
    "readOnlyRoot": True,
    "limits": {},
}


@pytest.mark.parametrize("limits", [{"processes": 1024}, {"pids": 2048}])
def test_an_app_whose_processes_are_bounded_is_as_it_should_be(limits: dict[str, int]) -> None:
    assert verdict(Isolation(AGENT, {**AGENT, "limits": limits}))[:2] == ("True", "Measured")


@pytest.mark.parametrize("app", [AGENT, {name: value for name, value in AGENT.items() if name != "limits"}])
def test_processes_that_nothing_bounds_are_a_weakness(app: dict[str, object]) -> None:
    status, reason, message = verdict(Isolation(AGENT, app))
    assert (status, reason) == ("False", "Weaker")
    assert "app: the number of processes is not bounded" in message
