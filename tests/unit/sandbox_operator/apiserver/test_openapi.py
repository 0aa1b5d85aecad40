import json
import re
from typing import Any

import pytest

from sandbox_operator.apiserver import openapi, routes
from sandbox_operator.apiserver.target import PREFIX
from sandbox_operator.apiserver.verb import Operation, Verb

DOCUMENT = json.loads(openapi.document(routes.VERBS.values()))
RUNNER = f"{PREFIX}/namespaces/{{namespace}}/sandboxrunners/{{name}}"
OPERATIONS = [(verb, operation) for verb in routes.VERBS.values() for operation in verb.operations]
IDS = [f"{operation.method} {verb.name}" for verb, operation in OPERATIONS]


def described(verb: Verb, operation: Operation) -> Any:
    return DOCUMENT["paths"][f"{RUNNER}/{verb.name}"][operation.method.lower()]


@pytest.mark.parametrize(("verb", "operation"), OPERATIONS, ids=IDS)
def test_each_operation_says_what_it_does_takes_and_refuses(verb: Verb, operation: Operation) -> None:
    found = described(verb, operation)
    assert found["summary"].endswith(".")
    assert [p["name"] for p in found["parameters"]] == [p.name for p in (*operation.parameters, *operation.headers)]
    assert all(p["description"] and p["schema"] for p in found["parameters"])
    if verb.below:
        assert set(found["responses"]) == {"default"}
        return
    assert {"400", "401", "403", "404", "410", "429", "503", str(operation.code)} <= set(found["responses"])
    for code, answer in found["responses"].items():
        assert answer["description"]
        if int(code) >= 400:
            assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Status"}


@pytest.mark.parametrize(("verb", "operation"), OPERATIONS, ids=IDS)
def test_each_refusal_has_words(verb: Verb, operation: Operation) -> None:
    assert set(operation.refusals) <= set(openapi.REFUSALS)


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    text = json.dumps(DOCUMENT)
    used = set(re.findall(r"#/components/schemas/(\w+)", text))
    known = set(DOCUMENT["components"]["schemas"])
    assert used <= known
    # what discovery names without a body of its own
    assert known - used <= {verb.kind for verb in routes.VERBS.values()} | {"SandboxRunner"}


@pytest.mark.parametrize("method", ["get", "post"])
def test_exec_tells_its_repeated_command_and_the_codes_of_a_handshake(method: str) -> None:
    found = DOCUMENT["paths"][f"{RUNNER}/exec"][method]
    command, *others = found["parameters"]
    assert (command["name"], command["required"], command["schema"]["type"]) == ("command", True, "array")
    assert [each["name"] for each in others] == ["container", "stdin", "stdout", "stderr", "tty"]
    assert not any(each.get("required") for each in others)
    assert {"101", "400", "403", "409", "429", "502", "503"} <= set(found["responses"])
    assert "200" not in found["responses"]


def test_operations_have_ids_of_their_own() -> None:
    ids = [found["operationId"] for item in DOCUMENT["paths"].values() for key, found in item.items() if key != "parameters"]
    assert len(ids) == len(set(ids))


def test_the_address_changes_with_the_document() -> None:
    one, other = (openapi.index(text)["paths"] for text in (b"{}", b"{} "))
    assert one.keys() == other.keys() == {PREFIX.removeprefix("/")}
    assert one != other
