from __future__ import annotations

from typing import Any

import pytest

from sandbox_operator.kube import errors
from sandbox_operator.kube.client import DeleteOptions, Kube, Selection
from sandbox_operator.kube.resources import NAMESPACES, PODS, SECRETS


async def test_every_request_carries_the_token(kube: Kube, script: Any) -> None:
    script.answers = [{"metadata": {}}]
    await kube.get(SECRETS, "s", "n")
    assert script.asked == [("GET", "/api/v1/namespaces/n/secrets/s", {}, None)]
    assert script.headers[0]["Authorization"] == "Bearer secret"


async def test_metadata_only_is_asked_for_by_accept(kube: Kube, script: Any) -> None:
    script.answers = [{"metadata": {}}]
    await kube.get(SECRETS, "s", "n", metadata_only=True)
    assert script.headers[0]["Accept"].startswith("application/json;as=PartialObjectMetadata;")


async def test_a_refusal_is_raised_as_its_class(kube: Kube, script: Any) -> None:
    script.answers = [(404, {"kind": "Status", "reason": "NotFound", "message": "no"})]
    with pytest.raises(errors.NotFound, match="no"):
        await kube.get(SECRETS, "s", "n")


async def test_a_namespaced_object_needs_its_namespace(kube: Kube) -> None:
    with pytest.raises(ValueError, match="namespace"):
        await kube.get(SECRETS, "s")


async def test_lists_are_read_page_by_page(kube: Kube, script: Any) -> None:
    script.answers = [
        {"metadata": {"resourceVersion": "5", "continue": "more"}, "items": [{"a": 1}]},
        {"metadata": {"resourceVersion": "5"}, "items": [{"a": 2}]},
    ]
    found = await kube.list(Selection(PODS, label_selector="x=y", field_selector="metadata.name=z"))
    assert (found.items, found.resource_version) == ([{"a": 1}, {"a": 2}], "5")
    assert script.asked[0][2] == {"labelSelector": "x=y", "fieldSelector": "metadata.name=z", "limit": "500"}
    assert script.asked[1][2]["continue"] == "more"


async def test_a_watch_yields_events_and_raises_the_error_in_its_stream(kube: Kube, script: Any) -> None:
    script.answers = [[{"type": "ADDED", "object": {"a": 1}}, {"type": "ERROR", "object": {"kind": "Status", "code": 410}}]]
    events = kube.watch(Selection(PODS), "7")
    first = await anext(events)
    assert (first.type, first.object) == ("ADDED", {"a": 1})
    with pytest.raises(errors.Gone):
        await anext(events)
    assert script.asked[0][2]["resourceVersion"] == "7"
    assert script.asked[0][2]["allowWatchBookmarks"] == "true"


async def test_apply_is_server_side_as_one_manager(kube: Kube, script: Any) -> None:
    script.answers = [{}]
    await kube.apply(NAMESPACES, {"metadata": {"name": "x"}})
    method, path, query, body = script.asked[0]
    assert (method, path, body) == ("PATCH", "/api/v1/namespaces/x", {"metadata": {"name": "x"}})
    assert query == {"fieldManager": "appstudio-sandbox-operator", "force": "true"}
    assert script.headers[0]["Content-Type"] == "application/apply-patch+yaml"


async def test_delete_sends_its_preconditions(kube: Kube, script: Any) -> None:
    script.answers = [{}]
    await kube.delete(PODS, "p", "n", DeleteOptions(uid="u", grace_seconds=0, propagation="Background"))
    assert script.asked[0][3] == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "preconditions": {"uid": "u"},
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Background",
    }
