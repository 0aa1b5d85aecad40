"""What the operator's accounts asked of the Kubernetes API during this run, held against docs/rights.md."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.harness import rights
from tests.harness.cluster import Cluster

ROOT = Path(__file__).parents[2]
# Imported while tests are collected: before the first of them runs.
BEGAN = datetime.now(UTC)
# The API server hands its audit log on in batches, at the latest after 30 s.
FLUSH_SECONDS = 60


@pytest.fixture(scope="module")
def page() -> rights.Listed:
    return rights.listed((ROOT / "docs" / "rights.md").read_text())


@pytest.fixture(scope="module", autouse=True)
def _everything_is_logged(cluster: Cluster) -> None:
    mark = f"/version?mark={secrets.token_hex(8)}"
    cluster.kubectl("get", "--raw", mark)
    until = time.monotonic() + FLUSH_SECONDS
    while mark not in (cluster.state.logs / "audit.log").read_text():
        assert time.monotonic() < until, f"the audit log {cluster.state.logs}/audit.log does not show what is asked"
        time.sleep(0.5)


def _ran_whole(session: pytest.Session) -> bool:
    """Whether every file against the cluster takes part, with all of its tests."""
    if session.config.option.keyword or session.config.option.markexpr or any("::" in word for word in session.config.args):
        return False
    files = {path for folder in ("cluster", "e2e") for path in (ROOT / "tests" / folder).glob("test_*.py")}
    return files <= {item.path for item in session.items}


def test_no_account_was_refused_for_want_of_a_right(cluster: Cluster, page: rights.Listed) -> None:
    assert rights.refused(rights.audit_events(cluster.state.logs, BEGAN), page.refusals) == []


def test_what_nothing_uses_is_not_granted(cluster: Cluster, page: rights.Listed, request: pytest.FixtureRequest) -> None:
    if not _ran_whole(request.session):
        pytest.skip("only a part of the tests ran: what they did not use may be used")
    # from the beginning of the log: the operator was started before the first test
    use = rights.used(rights.audit_events(cluster.state.logs, datetime.fromtimestamp(0, UTC)))
    unused = rights.unused(rights.granted(ROOT / "deploy" / "base"), use)
    assert [str(right) for right in unused if right not in page.rare] == [], "remove it, or say in docs/rights.md why it is rare"
