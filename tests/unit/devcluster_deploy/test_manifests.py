"""Order and dependencies of the shipped manifests."""

from typing import Any

from devcluster.deploy.manifests import mounted_from_elsewhere, phase


def deployment(*volumes: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": {"spec": {"volumes": list(volumes)}}}}


def test_what_is_known_by_its_kind_comes_before_what_is_checked_against_it() -> None:
    kinds = ["SandboxTemplate", "Deployment", "Namespace", "ClusterRole", "CustomResourceDefinition"]
    assert sorted(kinds, key=phase)[:2] == ["Namespace", "CustomResourceDefinition"]
    assert sorted(kinds, key=phase)[-1] == "SandboxTemplate"


def test_mounts_that_nobody_ships_have_to_be_waited_for() -> None:
    volumes = [
        {"name": "a", "secret": {"secretName": "made-later"}},
        {"name": "b", "secret": {"secretName": "maybe", "optional": True}},
        {"name": "c", "configMap": {"name": "shipped"}},
        {"name": "d", "projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "keys"}}]}},
        {"name": "e", "emptyDir": {}},
    ]
    shipped = {"kind": "ConfigMap", "metadata": {"name": "shipped"}}
    wanted = [("ConfigMap", "keys"), ("Secret", "made-later"), ("Secret", "projected")]
    assert mounted_from_elsewhere([shipped], deployment(*volumes)) == wanted


def test_a_deployment_without_volumes_waits_for_nothing() -> None:
    bare = {"kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": {"spec": {}}}}
    assert mounted_from_elsewhere([], bare) == []
