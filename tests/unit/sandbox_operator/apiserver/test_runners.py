from typing import Any

import pytest

from sandbox_operator.apiserver.runners import Runner, app_port, find, running, slim
from sandbox_operator.apiserver.target import Target
from sandbox_protocol.errors import StatusError

UID = "0b0f6f0e-93a5-4d3b-8d3f-2f6c4f3a9b10"
OTHER = "11111111-2222-3333-4444-555555555555"
SHOP = Target("team", "shop", "sync")


class Store(dict[tuple[str | None, str], dict[str, Any]]):
    def get(self, namespace: str | None, name: str) -> dict[str, Any] | None:  # type: ignore[override]
        return super().get((namespace, name))


def stored(spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **metadata: Any) -> Store:
    found = {"metadata": {"name": "shop", "namespace": "team", "uid": UID, "resourceVersion": "7", **metadata}}
    if spec is not None:
        found["spec"] = spec
    if status is not None:
        found["status"] = status
    return Store({("team", "shop"): slim(found)})


def conditions(**status: str) -> dict[str, Any]:
    return {"conditions": [{"type": t, "status": s, "reason": "Because", "message": "of that"} for t, s in status.items()]}


def test_everything_is_computed_from_the_uid() -> None:
    found = find(stored(), SHOP)
    assert (found.refs.namespace, found.refs.control_host) == (f"sandbox-{UID}", f"control.sandbox-{UID}.svc")
    assert (found.port, found.suspended) == (3000, False)


def test_a_forged_status_moves_nothing() -> None:
    forged = {
        "refs": {"namespace": f"sandbox-{OTHER}", "controlService": "victim", "controlSecret": "victim"},
        "preview": {"host": "evil.example"},
        "uid": OTHER,
        **conditions(Provisioned="True", NetworkReady="True", AgentReady="True"),
    }
    honest, moved = find(stored(), SHOP), find(stored(status=forged), SHOP)
    assert moved.refs == honest.refs
    assert (moved.port, moved.suspended) == (honest.port, honest.suspended)


def test_labels_annotations_and_odd_spec_fields_move_nothing() -> None:
    odd = stored(
        {"refs": {"namespace": "kube-system"}, "port": 8000},
        labels={"infrastructure.appstudio.dev/runner-uid": OTHER},
        annotations={"infrastructure.appstudio.dev/runner": "a/b"},
    )
    assert find(odd, SHOP).refs == find(stored(), SHOP).refs


def test_a_missing_runner_is_not_found_by_name() -> None:
    with pytest.raises(StatusError) as refused:
        find(Store(), SHOP)
    assert refused.value.code == 404
    assert '"shop" not found in namespace "team"' in refused.value.message


def test_a_runner_of_another_namespace_is_not_found() -> None:
    with pytest.raises(StatusError):
        find(stored(), Target("other", "shop", "sync"))


def test_a_runner_that_is_being_deleted_is_gone() -> None:
    with pytest.raises(StatusError) as refused:
        find(stored(deletionTimestamp="2026-01-01T00:00:00Z"), SHOP)
    assert (refused.value.code, refused.value.reason) == (410, "Gone")


def test_a_suspended_runner_says_how_to_wake_it() -> None:
    with pytest.raises(StatusError) as refused:
        running(find(stored({"operatingMode": "Suspended"}), SHOP))
    assert (refused.value.code, refused.value.reason) == (409, "Suspended")
    assert "operatingMode" in refused.value.message


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({}, "has not looked at it yet"),
        (conditions(Provisioned="False", AgentReady="False"), "Provisioned is False, Because: of that"),
        (conditions(Provisioned="True", NetworkReady="Unknown"), "NetworkReady is Unknown"),
        (conditions(Provisioned="True", AgentReady="True", AppReady="False"), "try again"),
        ({"conditions": ["odd", {"type": "Provisioned", "status": "False", "message": "x" * 9000}]}, "Provisioned"),
    ],
)
def test_conditions_give_the_words_for_a_runner_that_does_not_answer(status: dict[str, Any], words: str) -> None:
    said = find(stored(status=status), SHOP).unavailable("the agent cannot be reached")
    assert words in said.message
    assert len(said.message) < 400
    assert (said.code, said.retry_after) == (503, 2)


@pytest.mark.parametrize(
    ("reason", "since", "helps"),
    [
        ("Starting", "2026-01-01T00:00:00Z", True),
        ("Starting", "2025-12-31T23:59:00Z", False),
        ("ImagePullBackOff", "2026-01-01T00:00:00Z", False),
        ("TemplateNotFound", "2026-01-01T00:00:00Z", False),
        ("Starting", None, True),
        ("Starting", "no time", True),
    ],
)
def test_a_client_is_told_to_wait_only_where_waiting_helps(reason: str, since: str | None, helps: bool) -> None:
    now = 1767225600 + 10  # ten seconds into 2026
    condition = {"type": "AgentReady", "status": "False", "reason": reason, "message": "", "lastTransitionTime": since}
    said = find(stored(status={"conditions": [condition]}), SHOP, now).unavailable("the agent cannot be reached")
    assert said.retry_after == (2 if helps else None)
    assert reason in said.message


@pytest.mark.parametrize("port", [0, -1, 65536, 7070, 7071, 7080])
def test_ports_of_the_agent_and_no_ports_are_refused(port: int) -> None:
    with pytest.raises(StatusError) as refused:
        app_port(port, "spec.port")
    assert refused.value.code == 422
    assert refused.value.causes[0].field == "spec.port"


def test_the_copy_keeps_only_what_is_read() -> None:
    kept = slim(
        {
            "metadata": {"name": "a", "namespace": "b", "uid": UID, "resourceVersion": "1", "managedFields": ["much"]},
            "spec": {"env": ["secret"], "port": 1},
            "status": {"refs": {}, "conditions": []},
        }
    )
    assert kept == {
        "metadata": {"name": "a", "namespace": "b", "uid": UID, "resourceVersion": "1"},
        "spec": {"port": 1},
        "status": {"conditions": []},
    }


def test_a_runner_is_a_value() -> None:
    assert isinstance(find(stored(), SHOP), Runner)
    assert find(stored(), SHOP) == find(stored(), SHOP)
