"""Images that the pods of rendered objects would run. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


def pod_images(value: Any) -> Iterator[str]:
    """Of every container and image volume in ``value``, however deep its pod template lies; as written, with repeats."""
    if isinstance(value, list):
        for item in value:
            yield from pod_images(item)
    if not isinstance(value, dict):
        return
    for field in _CONTAINERS:
        for container in _objects(value.get(field)):
            if isinstance(container.get("image"), str):
                yield container["image"]
    for volume in _objects(value.get("volumes")):
        source = volume.get("image")
        if isinstance(source, dict) and isinstance(source.get("reference"), str):
            yield source["reference"]
    for item in value.values():
        yield from pod_images(item)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
