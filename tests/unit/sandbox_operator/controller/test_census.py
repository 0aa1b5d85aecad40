"""Who is one too many: the youngest of a namespace, and of a user."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox_operator.controller.census import Census
from sandbox_operator.errors import TooManyRunners
from sandbox_operator.model.template import RunnerBounds
from sandbox_protocol import names


def runner(number: int, namespace: str = "team", user: str = "") -> dict[str, Any]:
    annotations = {names.ANNOTATION_CREATOR: user} if user else {}
    made = f"2026-06-01T12:00:{number:02}Z"
    return {"metadata": {"namespace": namespace, "uid": f"uid-{number}", "creationTimestamp": made, "annotations": annotations}}


def refused(census: Census, asked: dict[str, Any], bounds: RunnerBounds) -> str:
    try:
        census.check(asked, bounds, "small")
    except TooManyRunners as error:
        return error.message
    return ""


def census_of(*runners: dict[str, Any]) -> Census:
    census = Census()
    for each in runners:
        census.see(None, each)
    return census


def test_the_youngest_of_a_namespace_is_too_many_and_is_told_the_numbers() -> None:
    three = [runner(number) for number in range(3)]
    census = census_of(*three, runner(3, "other"))
    bounds = RunnerBounds(per_namespace=2)
    assert [bool(refused(census, each, bounds)) for each in three] == [False, False, True]
    expected = "namespace team has 3 runners, of which 2 are older than this one; template small allows 2"
    assert expected in refused(census, three[2], bounds)


def test_runners_of_one_second_are_told_apart() -> None:
    twins = [runner(1), {"metadata": {**runner(1)["metadata"], "uid": "uid-0"}}]
    census = census_of(*twins)
    assert sorted(bool(refused(census, each, RunnerBounds(per_namespace=1))) for each in twins) == [False, True]


def test_a_user_is_counted_in_all_namespaces_and_nobody_is_nobody() -> None:
    runners = [runner(0, "a", "ann"), runner(1, "b", "ann"), runner(2, "a", "bob"), runner(3, "a"), runner(4, "a")]
    census = census_of(*runners)
    bounds = RunnerBounds(per_user=1)
    assert [bool(refused(census, each, bounds)) for each in runners] == [False, True, False, False, False]
    assert "user ann has 2 runners" in refused(census, runners[1], bounds)


def test_one_that_goes_makes_room() -> None:
    first, second = runner(0), runner(1)
    census = census_of(first, second)
    bounds = RunnerBounds(per_namespace=1)
    assert refused(census, second, bounds)
    census.see(first, None)
    assert not refused(census, second, bounds)


def test_a_change_counts_once() -> None:
    only = runner(0, user="ann")
    census = census_of(only)
    census.see(only, only)
    assert not refused(census, only, RunnerBounds(per_namespace=1, per_user=1))


@pytest.mark.parametrize("bounds", [RunnerBounds(), RunnerBounds(per_namespace=5)])
def test_without_a_bound_and_below_it_nobody_is_refused(bounds: RunnerBounds) -> None:
    runners = [runner(number) for number in range(5)]
    assert [refused(census_of(*runners), each, bounds) for each in runners] == [""] * 5
