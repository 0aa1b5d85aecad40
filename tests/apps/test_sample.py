"""Ten projects of the corpus, of ten kinds, as `make test-apps` plays all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from tests.apps import projects, results
from tests.apps.__main__ import run
from tests.apps.results import Record
from tests.harness.cluster import Cluster

SAMPLE = {project.name: project for project in projects.every() if project.sample}


@pytest.fixture(scope="module")
def records(cluster: Cluster, request: pytest.FixtureRequest) -> Mapping[str, Record]:
    """Of the projects whose tests are chosen, played two at a time."""
    ids = " ".join(item.nodeid for item in request.session.items)
    chosen = [project for project in SAMPLE.values() if f"[{project.name}]" in ids]
    found = asyncio.run(run(cluster.state, chosen, results.product_revision()))
    return {record.project: record for record in found}


@pytest.mark.parametrize("name", SAMPLE)
def test_it_comes_up_shows_every_edit_and_its_errors_and_mends_or_says_why_not(name: str, records: Mapping[str, Record]) -> None:
    record = records[name]
    assert record.failure == ""
    assert (record.verdict, len(record.edits)) == (("told", 0) if SAMPLE[name].kind == "told" else ("up", 3))
