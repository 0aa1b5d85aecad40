"""Each row of docs/behaviour.md, asked of the real cluster. All states are reached and asked at once, before the first row."""

from __future__ import annotations

import asyncio

import pytest

from tests.cluster.behaviour import states
from tests.cluster.behaviour.states import Answers
from tests.cluster.behaviour.table import TABLE, VERBS
from tests.harness.cluster import Cluster

_ROWS = [(state, verb) for state, answers in TABLE.items() for verb in VERBS if verb in answers]
_NEEDS_THE_NODE = {"agent-dead", "agent-frozen"}


@pytest.fixture(scope="module")
def answers(cluster: Cluster, namespace: str) -> tuple[Answers, list[str]]:
    return asyncio.run(states.collect(cluster, namespace))


@pytest.mark.parametrize(("state", "verb"), _ROWS, ids=[f"{state}-{verb.replace(' ', '-')}" for state, verb in _ROWS])
def test_a_verb_answers_as_the_page_says(answers: tuple[Answers, list[str]], state: str, verb: str) -> None:
    found, failed = answers
    if (state, verb) not in found:
        if state in _NEEDS_THE_NODE and not failed:
            pytest.skip("the node's processes are not on this machine")
        pytest.fail(f"never asked: {'; '.join(failed)}", pytrace=False)
    assert TABLE[state][verb].differences(found[state, verb]) == []
