"""The CRDs and the records that read them say the same, field by field: names, types, defaults, what is required."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from sandbox_operator.model import template
from sandbox_operator.model.record import Record, write
from sandbox_operator.model.runner import RunnerSpec
from sandbox_operator.model.template import TemplateSpec
from sandbox_protocol import limits

ROOT = Path(__file__).parents[4]
RUNNER = yaml.safe_load((ROOT / "crds/sandboxrunners.yaml").read_text())
TEMPLATE = yaml.safe_load((ROOT / "crds/sandboxtemplates.yaml").read_text())
JSON_TYPES = {str: "string", int: "integer", bool: "boolean"}


def schema_of(crd: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def differences(record: type[Record], schema: dict[str, Any], path: str) -> list[str]:
    found: list[str] = []
    fields = {field.encode_name: field for field in msgspec.structs.fields(record)}
    if schema.get("type") != "object":
        return [f"{path}: not an object"]
    properties = schema.get("properties", {})
    found += [f"{path}.{name}: only in the record" for name in fields.keys() - properties.keys()]
    found += [f"{path}.{name}: only in the CRD" for name in properties.keys() - fields.keys()]
    for name in fields.keys() & properties.keys():
        field, part, where = fields[name], properties[name], f"{path}.{name}"
        if field.required != (name in schema.get("required", ())):
            found.append(f"{where}: required in one of both only")
        found += default_differences(field, part, where)
        found += type_differences(field.type, part, where)
    return found


def default_differences(field: Any, part: dict[str, Any], where: str) -> list[str]:
    if "default" not in part:
        # what the CRD leaves absent must be empty in the record
        value = None if field.default is msgspec.NODEFAULT else field.default
        return (
            []
            if value in (None, (), "") or (isinstance(value, Record) and not write(value))
            else [f"{where}: default only in the record"]
        )
    if isinstance(field.default, Record):
        inherited = {name: prop["default"] for name, prop in part.get("properties", {}).items() if "default" in prop}
        given = {**inherited, **part["default"]}
        mine = {**inherited, **write(field.default)}
        return [] if given == mine else [f"{where}: default {given} in the CRD, {mine} in the record"]
    if part["default"] == {} and field.default_factory is dict:
        return []
    return (
        []
        if field.default == part["default"]
        else [f"{where}: default {part['default']!r} in the CRD, {field.default!r} in the record"]
    )


def type_differences(kind: Any, part: dict[str, Any], where: str) -> list[str]:
    if typing.get_origin(kind) in (types.UnionType, typing.Union) and type(None) in kind.__args__:
        rest = [argument for argument in kind.__args__ if argument is not type(None)]
        kind = rest[0] if len(rest) == 1 else rest[0] | rest[1]
    if kind == (str | int):
        return [] if part.get("x-kubernetes-int-or-string") else [f"{where}: not int-or-string"]
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return [] if set(part.get("enum", ())) == set(kind.__args__) else [f"{where}: other values allowed"]
    if origin is tuple:
        if part.get("type") != "array":
            return [f"{where}: not an array"]
        return type_differences(kind.__args__[0], part["items"], f"{where}[]")
    if origin is dict:
        if part.get("x-kubernetes-preserve-unknown-fields"):
            return []
        return type_differences(kind.__args__[1], part.get("additionalProperties", {}), f"{where}{{}}")
    if isinstance(kind, type) and issubclass(kind, Record):
        return differences(kind, part, where)
    return (
        [] if part.get("type") == JSON_TYPES[kind] else [f"{where}: {part.get('type')} in the CRD, {kind.__name__} in the record"]
    )


def undescribed(schema: dict[str, Any], path: str) -> list[str]:
    found = []
    for name, part in schema.get("properties", {}).items():
        if "description" not in part and path + name != "metadata":
            found.append(path + name)
        found += undescribed(part, f"{path}{name}.")
        found += undescribed(part.get("items", {}), f"{path}{name}[].")
        if isinstance(part.get("additionalProperties"), dict):
            found += undescribed(part["additionalProperties"], f"{path}{name}{{}}.")
    return found


@pytest.mark.parametrize(("crd", "record"), [(RUNNER, RunnerSpec), (TEMPLATE, TemplateSpec)], ids=["runner", "template"])
def test_the_crd_and_the_record_are_the_same(crd: dict[str, Any], record: type[Record]) -> None:
    assert differences(record, schema_of(crd)["properties"]["spec"], "spec") == []


def test_the_walk_notices_a_field_that_only_one_side_has() -> None:
    schema = {
        "type": "object",
        "properties": {"profile": {"type": "string", "enum": ["none"], "default": "none"}, "extra": {"type": "string"}},
    }
    assert sorted(differences(template.Egress, schema, "egress")) == [
        "egress.blocked: only in the record",
        "egress.dns: only in the record",
        "egress.extra: only in the CRD",
        "egress.mirrors: only in the record",
        "egress.profile: other values allowed",
        "egress.releases: only in the record",
    ]


@pytest.mark.parametrize("crd", [RUNNER, TEMPLATE], ids=["runner", "template"])
def test_every_field_explains_itself(crd: dict[str, Any]) -> None:
    assert undescribed(schema_of(crd), "") == []


def test_sync_limits_of_the_template_are_those_of_the_agent() -> None:
    mine = {field.name for field in msgspec.structs.fields(template.SyncLimits)}
    assert mine == set(limits.SyncLimits.__dataclass_fields__)


def test_columns_short_names_and_category() -> None:
    columns = [column["name"] for column in RUNNER["spec"]["versions"][0]["additionalPrinterColumns"]]
    assert columns == ["Ready", "Reason", "App", "Mode", "Preview", "Age"]
    assert RUNNER["spec"]["names"]["shortNames"] == ["sbx"]
    assert RUNNER["spec"]["scope"] == "Namespaced"
    assert TEMPLATE["spec"]["scope"] == "Cluster"
    assert RUNNER["spec"]["names"]["categories"] == TEMPLATE["spec"]["names"]["categories"] == ["appstudio"]


def test_status_is_a_subresource_of_both() -> None:
    assert all("status" in crd["spec"]["versions"][0]["subresources"] for crd in (RUNNER, TEMPLATE))
