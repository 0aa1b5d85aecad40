"""What a container says isolates it is what the kernel says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner_agent import isolation
from sandbox_protocol import measurement


def test_it_tells_what_this_process_has() -> None:
    found = isolation.measure(landlock=7, processes=99)
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert found["kernelRelease"] == os.uname().release[:64]
    assert found["capabilities"] == (status["CapEff"].lstrip("0") or "0")
    assert found["noNewPrivileges"] == (status["NoNewPrivs"] == "1")
    assert (found["landlock"], found["limits"]["processes"]) == (7, 99)


def test_nothing_of_it_is_lost_on_the_way() -> None:
    found = isolation.measure()
    assert measurement.checked(found) == {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize(
    ("uid_map", "mapped"),
    [
        ("         0          0 4294967295\n", False),
        ("         0  524288      65536\n", True),
        ("0 0 1000\n1000 5000 10\n", True),
        ("", None),
    ],
)
def test_a_user_namespace_is_told_by_its_map(uid_map: str, mapped: bool | None) -> None:
    assert isolation.user_namespace(uid_map) is mapped


def test_gvisor_is_told_by_its_release(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not isolation.is_gvisor()
    names = list(os.uname())
    names[2] = "4.19.0-gvisor"
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(names))
    assert isolation.is_gvisor()
