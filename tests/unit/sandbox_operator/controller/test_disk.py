"""What the agent says of its volume, in numbers, as a condition."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_operator.controller.disk import Disk, parse, verdict

MIB = 1 << 20
GIB = 1 << 30


def usage(**changes: Any) -> dict[str, Any]:
    own = {
        "workspaceBytes": 100 * MIB,
        "workspaceFreeBytes": 900 * MIB,
        "workspaceFiles": 1000,
        "workspaceFreeFiles": 64536,
        "volumeShared": False,
    }
    return {**own, **changes}


@pytest.mark.parametrize(
    ("said", "outcome", "words"),
    [
        (usage(), ("False", "RoomLeft"), "takes 1000 MiB and 65536 files."),
        (usage(workspaceBytes=990 * MIB, workspaceFreeBytes=10 * MIB), ("True", "FewBytesLeft"), "10 MiB are free of 1000 MiB"),
        (usage(workspaceFiles=65536, workspaceFreeFiles=0), ("True", "FewFilesLeft"), "0 files are free of 1000 MiB and 65536"),
        (usage(workspaceFiles=None, workspaceFreeFiles=None), ("False", "RoomLeft"), "takes 1000 MiB."),
        (usage(volumeShared=True), ("False", "NotBounded"), "holds up to 128 MiB. Its StorageClass does not bound it"),
        (usage(volumeShared=True, workspaceBytes=2 * GIB), ("True", "OverSize"), "holds 2048 MiB, storage.size is 1024 MiB"),
        (usage(volumeShared=True, workspaceBytes=None), ("Unknown", "NotMeasured"), "not told"),
        ({}, ("Unknown", "NotMeasured"), "not told"),
        (None, ("Unknown", "NotMeasured"), "not told"),
        (usage(workspaceBytes="many"), ("Unknown", "NotMeasured"), "not told"),
    ],
)
def test_how_much_is_left_is_a_condition(said: Any, outcome: tuple[str, str], words: str) -> None:
    status, reason, message = verdict(parse(said), GIB)
    assert (status, reason) == outcome
    assert words in message


def test_a_runner_with_room_says_the_same_while_it_writes() -> None:
    assert parse(usage()) == parse(
        usage(workspaceBytes=101 * MIB, workspaceFreeBytes=899 * MIB, workspaceFiles=1001, workspaceFreeFiles=64535)
    )
    shared = usage(volumeShared=True, workspaceFiles=7)
    assert parse(shared) == parse({**shared, "workspaceBytes": 101 * MIB, "workspaceFreeBytes": 5, "workspaceFiles": 8})


@given(
    st.one_of(
        st.dictionaries(st.sampled_from([*usage()]), st.one_of(st.integers(), st.booleans(), st.text(), st.none())), st.text()
    )
)
def test_whatever_an_agent_says_is_a_condition_or_unknown(said: Any) -> None:
    disk = parse(said)
    assert disk is None or isinstance(disk, Disk)
    assert all(verdict(disk, GIB))
