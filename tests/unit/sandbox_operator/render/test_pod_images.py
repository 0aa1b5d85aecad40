from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_operator.render.pod_images import pod_images

POD = {
    "initContainers": [{"name": "gate", "image": "i"}],
    "containers": [{"name": "app", "image": "c"}, {"name": "agent", "image": "i"}],
    "ephemeralContainers": [{"name": "debug", "image": "e"}],
    "volumes": [{"name": "v", "image": {"reference": "v", "pullPolicy": "Always"}}, {"name": "w", "emptyDir": {}}],
}


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "Pod", "spec": POD},
        {"kind": "Deployment", "spec": {"template": {"spec": POD}}},
        {"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": POD}}}}},
        {"kind": "ThingOfSomebody", "spec": {"parts": [{"pods": [POD]}]}},
    ],
)
def test_every_place_for_an_image_is_seen_however_deep_the_pod_lies(body: dict[str, Any]) -> None:
    assert sorted(pod_images(body)) == ["c", "e", "i", "i", "v"]


def test_what_is_no_container_has_no_image() -> None:
    assert [*pod_images({"spec": {"image": "x", "containers": "many", "volumes": [1], "env": [{"image": "y"}]}})] == []


@given(
    st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*POD, "image"]), inner))
)
def test_any_shape_can_be_walked(value: Any) -> None:
    assert all(isinstance(image, str) for image in pod_images(value))
