"""A template maps languages to images; a runner names a language."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sandbox_operator.errors import SpecInvalid
from sandbox_operator.model.effective import effective
from sandbox_operator.model.images import allowed, parse, template_faults
from tests.unit.sandbox_operator.model.test_effective import DIGEST, runner, template

GO = f"registry.test/go@{DIGEST}"
LANGUAGES = [{"name": "go", "image": f"registry.test/go:v1@{DIGEST}"}, {"name": "bun", "image": f"registry.test/bun@{DIGEST}"}]
STRICT: dict[str, Any] = {"languages": LANGUAGES, "bounds": {}}


def test_a_language_is_the_templates_image_for_it_and_needs_no_entry_in_the_bounds() -> None:
    assert effective(runner(language="go"), template(**STRICT)).image == GO
    assert allowed(parse(GO), template(**STRICT))


def test_the_image_of_a_language_may_be_named_by_its_digest_too_and_no_other_of_its_repository() -> None:
    assert effective(runner(image=GO), template(**STRICT)).image == GO
    with pytest.raises(
        SpecInvalid, match=r"not allowed by template sandbox-runner \(only its default image; spec.language: go, bun\)"
    ):
        effective(runner(image=f"registry.test/go@sha256:{'2' * 64}"), template(**STRICT))


@pytest.mark.parametrize(("languages", "listed"), [(LANGUAGES, "it has go, bun"), ([], "it has none")])
def test_a_language_that_the_template_does_not_have_is_refused_with_those_it_has(languages: list[Any], listed: str) -> None:
    with pytest.raises(SpecInvalid) as caught:
        effective(runner(language="rust"), template(languages=languages))
    assert f"spec.language: template sandbox-runner has no image for rust; {listed}. Choose" in caught.value.message


def test_the_agent_is_told_the_languages_only_where_there_are_some() -> None:
    assert json.loads(effective(runner(), template(**STRICT)).app_json())["languages"] == ["go", "bun"]
    assert "languages" not in json.loads(effective(runner(), template()).app_json())


def test_an_image_of_a_language_without_a_digest_is_told_by_its_field() -> None:
    made = template(languages=[*LANGUAGES, {"name": "rust", "image": "rust:1"}, {"name": "php", "image": "PHP"}], bounds={})
    told = [*template_faults(made)]
    assert [entry.partition(": ")[0] for entry in told] == ["spec.languages[2].image", "spec.languages[3].image"]
    assert "rust:1 has no digest" in told[0]
    assert [*template_faults(template(languages=[{"name": "rust", "image": "rust:1"}], bounds={"requireDigest": False}))] == []
