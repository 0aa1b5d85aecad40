from __future__ import annotations

from typing import Any

import pytest

from sandbox_operator.errors import TemplateInvalid
from sandbox_operator.model.template import TemplateResource
from sandbox_operator.render.graph import Graph, compile_template

SCHEMA: dict[str, Any] = {"metadata": {"uid": "u"}, "spec": {"port": 3000, "on": True}}


def graph(*resources: tuple[str, dict[str, Any]] | TemplateResource) -> Graph:
    return compile_template(
        tuple(
            entry if isinstance(entry, TemplateResource) else TemplateResource(id=entry[0], template=entry[1])
            for entry in resources
        )
    )


def test_whole_expressions_keep_their_type_and_embedded_ones_are_text() -> None:
    (made,) = graph(
        ("a", {"port": "${schema.spec.port}", "name": "x-${schema.metadata.uid}-${string(schema.spec.port)}"})
    ).render(SCHEMA)
    assert made.object == {"port": 3000, "name": "x-u-3000"}


def test_resources_come_after_those_they_refer_to() -> None:
    rendered = graph(("late", {"n": "${early.name}"}), ("early", {"name": "e-${schema.metadata.uid}"})).render(SCHEMA)
    assert [(entry.resource, entry.object) for entry in rendered] == [("early", {"name": "e-u"}), ("late", {"n": "e-u"})]


def test_a_resource_is_left_out_unless_all_its_conditions_hold() -> None:
    def included(*conditions: str) -> bool:
        return bool(graph(TemplateResource(id="a", template={}, include_when=conditions)).render(SCHEMA))

    assert included("${schema.spec.on}")
    assert not included("${schema.spec.on}", "${schema.spec.port == 1}")


@pytest.mark.parametrize(
    ("resources", "complaint"),
    [
        ([("a", {"spec": {"x": ["${1 +}"]}})], "resource a, spec.x[0]: ${1 +}: Syntax error"),
        ([("a", {"x": "${nobody.name}"})], "resource a, x: ${nobody.name}: undeclared reference"),
        ([("a", {"x": "${open"})], "resource a, x: '${' at offset 0 is never closed"),
        ([("namespace", {})], "resources[0].id: 'namespace' is reserved"),
        ([("a", {}), ("a", {})], "resources[1].id: 'a'"),
        ([("a", {"x": "${b.y}"}), ("b", {"y": "${a.x}"})], "in a circle: a → b → a"),
        (
            [TemplateResource(id="a", template={}, include_when=("true",))],
            "resource a, includeWhen[0]: must be one ${expression}",
        ),
    ],
)
def test_a_broken_template_is_refused_before_anything_is_made(resources: list[Any], complaint: str) -> None:
    with pytest.raises(TemplateInvalid) as caught:
        graph(*resources)
    assert complaint in caught.value.message


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"metadata": {"name": "${schema.spec.absent}"}}, "resource a, metadata.name: ${schema.spec.absent}: Key not found"),
        ({"x": "port ${schema.spec.port}"}, "resource a, x: ${schema.spec.port} inside text must give a string"),
        ({"x": "${schema.spec.?absent}"}, "resource a, x: ${schema.spec.?absent}: the result holds an optional value"),
    ],
)
def test_a_failure_for_one_runner_names_resource_and_field(body: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TemplateInvalid) as caught:
        graph(("a", body)).render(SCHEMA)
    assert complaint in caught.value.message


def test_parts_that_only_the_cluster_knows_cannot_be_referred_to() -> None:
    with pytest.raises(TemplateInvalid, match="status"):
        graph(("a", {"kind": "Service"}), ("b", {"x": "${a.status.ip}"})).render(SCHEMA)


def test_ready_when_is_asked_of_live_objects() -> None:
    made = graph(TemplateResource(id="a", template={}, ready_when=("${a.status.ready}",)), ("b", {}))
    assert made.awaited == ("a",)
    assert made.unready({"a": {}}) == ["a: ${a.status.ready}"]
    assert made.unready({"a": {"status": {"ready": True}}}) == []


def test_rendering_twice_gives_the_same() -> None:
    made = graph(("a", {"x": "${schema.spec}"}))
    assert made.render(SCHEMA) == made.render(SCHEMA)
