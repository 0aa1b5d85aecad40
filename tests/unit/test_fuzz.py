"""Every fuzz target meets its corpus again, and some hundred neighbours of it. The long search is ``make fuzz``."""

from __future__ import annotations

import pytest

from tests.fuzz import mutation
from tests.fuzz.target import CORPUS, MAX_BYTES, TARGETS, corpus
from tests.fuzz.targets import TARGETS as ALL


@pytest.mark.parametrize("name", sorted(ALL))
def test_what_is_kept_in_the_corpus_holds(name: str) -> None:
    for data in corpus(name):
        ALL[name](data)


@pytest.mark.parametrize("name", sorted(ALL))
def test_so_do_its_neighbours(name: str) -> None:
    mutation.attempt(name, 60)


def test_every_target_has_a_small_corpus_and_every_corpus_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert max(len(data) for name in TARGETS for data in corpus(name)) <= 2 * MAX_BYTES
