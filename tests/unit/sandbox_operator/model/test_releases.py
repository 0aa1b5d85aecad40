"""The mirror of releases, as tools find it."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox_operator.model.effective import effective
from sandbox_operator.model.record import read
from sandbox_operator.model.releases import environment, template_faults
from sandbox_operator.model.template import Egress
from tests.unit.sandbox_operator.model.test_effective import runner, template

MIRRORS = [{"cidr": "203.0.113.20/32", "ports": [8081]}]


def egress(url: str = "http://203.0.113.20:8081/binaries/", **fields: Any) -> dict[str, Any]:
    return {"profile": "mirror", "mirrors": MIRRORS, "releases": {"url": url}, **fields}


def test_each_tool_finds_its_folder_below_the_mirror() -> None:
    found = {variable.name: variable.value for variable in environment(read(Egress, egress()))}
    assert found["PRISMA_ENGINES_MIRROR"] == "http://203.0.113.20:8081/binaries/prisma"
    assert found["npm_config_download"].startswith("http://203.0.113.20:8081/binaries/{name}/{tag_prefix}{version}/{name}-v")
    assert found["ELECTRON_MIRROR"].endswith("/binaries/electron/")
    assert environment(read(Egress, {})) == ()


def test_the_templates_own_variables_and_a_runners_win() -> None:
    defaults = {**template_defaults(), "env": [{"name": "PRISMA_ENGINES_MIRROR", "value": "http://other"}]}
    made = effective(runner(env=[{"name": "NODEJS_ORG_MIRROR", "value": "mine"}]), template(egress=egress(), defaults=defaults))
    values = {variable.name: variable.value for variable in made.env}
    assert (values["PRISMA_ENGINES_MIRROR"], values["NODEJS_ORG_MIRROR"]) == ("http://other", "mine")
    assert values["SASS_BINARY_SITE"] == "http://203.0.113.20:8081/binaries/node-sass"


def template_defaults() -> dict[str, Any]:
    return {"image": template().defaults.image}


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, ""),
        ({"url": "https://203.0.113.20/"}, "no entry of egress.mirrors opens 203.0.113.20 on port 443"),
        ({"url": "http://203.0.113.21:8081"}, "no entry of egress.mirrors opens 203.0.113.21 on port 8081"),
        ({"url": "http://mirror.test:8081"}, "mirror.test is a name, and these sandboxes have no DNS"),
        ({"url": "http://mirror.test:8081", "dns": "cluster"}, ""),
        ({"url": "http://mirror.test:99999"}, "is no address"),
        ({"url": "http://[fd00::1]:8081", "mirrors": [{"cidr": "fd00::/64", "ports": [8081]}]}, ""),
        ({"profile": "none", "mirrors": []}, "egress.profile none lets no sandbox reach it"),
        ({"profile": "public", "mirrors": [], "url": "https://mirror.test"}, ""),
    ],
)
def test_a_mirror_that_no_sandbox_could_reach_is_a_fault_of_the_template(fields: dict[str, Any], complaint: str) -> None:
    told = "; ".join(template_faults(template(egress=egress(**fields))))
    assert told.startswith("spec.egress.releases.url: ") if complaint else told == ""
    assert complaint in told
