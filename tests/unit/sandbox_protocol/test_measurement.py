"""A measurement is told by what may be lying: it becomes well-formed or nothing, and what is missing counts as weak."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_protocol.measurement import checked, described, weaknesses

SOUND = {
    "kernel": "Linux",
    "kernelRelease": "6.18.0",
    "userNamespace": True,
    "seccomp": "Filter",
    "noNewPrivileges": True,
    "capabilities": "0",
    "appArmor": "",
    "readOnlyRoot": True,
    "landlock": 7,
    "limits": {"memoryBytes": 1, "openFiles": 16384},
}
GVISOR = {**SOUND, "kernel": "gVisor", "userNamespace": False, "seccomp": "Disabled", "landlock": 0}
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x))


def test_what_is_sound_is_kept_and_has_no_weakness() -> None:
    assert checked(SOUND) == SOUND
    assert weaknesses(SOUND) == []


def test_gvisor_stands_for_user_namespace_and_seccomp() -> None:
    assert weaknesses(GVISOR) == []
    assert described(GVISOR) == "kernel gVisor 6.18.0, no Landlock, no AppArmor"


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("userNamespace", False, "no user namespace"),
        ("seccomp", "Disabled", "no seccomp filter"),
        ("noNewPrivileges", False, "privileges can be gained"),
        ("capabilities", "a80425fb", "capabilities a80425fb"),
        ("readOnlyRoot", False, "the root file system can be written"),
    ],
)
def test_each_wall_that_is_missing_is_named(field: str, value: Any, fault: str) -> None:
    assert weaknesses({**SOUND, field: value}) == [fault]
    assert len(weaknesses({name: kept for name, kept in SOUND.items() if name != field})) == 1


@pytest.mark.parametrize(
    ("profile", "faults"), [("cri-containerd.apparmor.d (enforce)", []), ("", []), ("unconfined", ["AppArmor confines nothing"])]
)
def test_a_node_that_has_apparmor_must_use_it_and_one_that_has_not_is_fine(profile: str, faults: list[str]) -> None:
    assert weaknesses({**SOUND, "appArmor": profile}) == faults


@pytest.mark.parametrize(
    "lie",
    [
        {"kernel": "Linux\n"},
        {"userNamespace": 1},
        {"seccomp": ["Filter"]},
        {"capabilities": "0" * 65},
        {"appArmor": "\x1b[2J"},
        {"landlock": True},
        {"landlock": -1},
        {"other": 1},
    ],
)
def test_what_is_not_well_formed_is_left_out(lie: dict[str, Any]) -> None:
    assert checked(lie) is None


@given(JSON | st.fixed_dictionaries(dict.fromkeys(SOUND, JSON)))
def test_anything_at_all_becomes_well_formed(said: Any) -> None:
    found = checked(said)
    assert checked(found) == found
    assert weaknesses(found or {}) is not None
