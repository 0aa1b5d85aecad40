from __future__ import annotations

import json
from typing import Any

import pytest

from sandbox_operator.errors import SpecInvalid
from sandbox_operator.model.effective import effective
from sandbox_operator.model.record import MalformedError, read
from sandbox_operator.model.runner import RunnerSpec
from sandbox_operator.model.template import TemplateSpec

DIGEST = f"sha256:{'1' * 64}"


def template(**changes: Any) -> TemplateSpec:
    return read(
        TemplateSpec,
        {
            "agentImage": f"registry.test/agent@{DIGEST}",
            "defaults": {
                "image": f"registry.test/base@{DIGEST}",
                "env": [{"name": "A", "value": "template"}, {"name": "B", "value": "b"}],
                "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "2Gi"}},
                "lifecycle": {"idleTimeout": "2h"},
            },
            "bounds": {
                "images": ["registry.test/team/*", "registry.test/tool"],
                "requireDigest": False,
                "resources": {"max": {"memory": "4Gi"}},
                "storage": {"max": "10Gi"},
            },
            "resources": [],
            **changes,
        },
    )


def runner(**spec: Any) -> RunnerSpec:
    return read(RunnerSpec, spec)


def test_an_empty_spec_is_what_the_template_says() -> None:
    made = effective(runner(), template())
    assert made.image == f"registry.test/base@{DIGEST}"
    assert (made.command, made.working_dir, made.port) == ((), "/workspace", 3000)
    assert (made.storage.size, made.storage.storage_class_name, made.operating_mode) == ("1Gi", None, "Running")
    assert made.idle_timeout == "2h"


def test_own_wishes_win_field_by_field() -> None:
    made = effective(
        runner(env=[{"name": "A", "value": "mine"}], resources={"limits": {"memory": "3Gi"}}, lifecycle={"idleTimeout": "5m"}),
        template(),
    )
    assert {variable.name: variable.value for variable in made.env} == {"A": "mine", "B": "b"}
    assert made.resources.limits == {"cpu": "2", "memory": "3Gi"}
    assert made.idle_timeout == "5m"


def test_lowering_a_limit_lowers_the_default_request_with_it() -> None:
    assert effective(runner(resources={"limits": {"memory": "128Mi"}}), template()).resources.requests["memory"] == "128Mi"


def test_the_clock_overrides_the_wish() -> None:
    assert effective(runner(), template(), "Suspended").operating_mode == "Suspended"


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"image": "evil.test/x"}, "spec.image: evil.test/x is not allowed"),
        (
            {"resources": {"limits": {"memory": "5Gi"}}},
            "spec.resources.limits.memory: 5Gi is more than the template's maximum, 4Gi",
        ),
        ({"resources": {"requests": {"cpu": "3"}}}, "spec.resources.requests.cpu: 3 is more than the limit, 2"),
        ({"resources": {"requests": {"cpu": "-1"}, "limits": {"x": "-1"}}}, "spec.resources.limits.x: -1 is negative"),
        ({"storage": {"size": "11Gi"}}, "spec.storage.size: 11Gi is more than"),
        ({"storage": {"size": "huge"}}, "spec.storage.size: 'huge' is not a quantity"),
        ({"runtimeClusterRef": {"name": "other"}}, "spec.runtimeClusterRef"),
        ({"workingDir": "/etc"}, "spec.workingDir: /etc is not in /workspace"),
        ({"workingDir": "/workspaces"}, "spec.workingDir"),
    ],
)
def test_a_spec_outside_the_bounds_is_refused_by_field(spec: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SpecInvalid) as caught:
        effective(read(RunnerSpec, spec), template())
    assert complaint in caught.value.message


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SpecInvalid) as caught:
        effective(runner(image="evil.test/x", storage={"size": "11Gi"}), template())
    assert "spec.image" in caught.value.message
    assert "spec.storage.size" in caught.value.message


def test_the_image_is_named_in_its_normal_form() -> None:
    assert effective(runner(image=f"registry.test/tool:v1@{DIGEST}"), template()).image == f"registry.test/tool@{DIGEST}"


def test_a_template_requires_digests_unless_it_says_otherwise() -> None:
    strict = template(bounds={"images": ["registry.test/tool"]})
    effective(runner(image=f"registry.test/tool@{DIGEST}"), strict)
    with pytest.raises(SpecInvalid, match="has no digest"):
        effective(runner(image="registry.test/tool:v1"), strict)


def test_a_wrong_type_is_named_by_its_path() -> None:
    with pytest.raises(MalformedError) as caught:
        read(RunnerSpec, {"env": [{"name": 3}]})
    assert caught.value.path == "spec.env[0].name"


def test_null_is_absent() -> None:
    assert read(RunnerSpec, {"image": None, "env": [{"name": "A", "value": None}]}).env[0].value == ""


def test_processes_and_triggers_travel_to_the_agent() -> None:
    worker = {"name": "worker", "command": ["node", "w.js"], "env": [{"name": "A", "value": "1"}]}
    api = {"name": "api", "command": ["a"], "workingDir": "/workspace/api", "port": 4000}
    made = effective(runner(processes=[worker, api], restartOn=["*.sql"]), template())
    assert json.loads(made.app_json()) == {
        "command": None,
        "port": 3000,
        "workingDir": "/workspace",
        "processes": [
            {"name": "worker", "command": ["node", "w.js"], "port": None, "env": {"A": "1"}},
            {"name": "api", "command": ["a"], "port": 4000, "env": {}, "workingDir": "/workspace/api"},
        ],
        "restartOn": ["*.sql"],
    }


def test_more_than_fits_into_a_variable_is_refused_with_the_numbers() -> None:
    many = [{"name": f"p{number}", "command": ["x" * 4096] * 4} for number in range(8)]
    with pytest.raises(SpecInvalid, match=r"131\d{3} bytes together; 100000 are allowed"):
        effective(runner(processes=many), template())
