import asyncio
from typing import Any

import pytest

from sandbox_operator.apiserver.authn import User
from sandbox_operator.apiserver.authz import Authorizer
from sandbox_operator.apiserver.runners import Runner
from sandbox_operator.apiserver.sessions import Claim, Pace, Sessions
from sandbox_operator.apiserver.target import Target
from sandbox_protocol.errors import StatusError
from sandbox_protocol.refs import Refs

UID = "0b0f6f0e-93a5-4d3b-8d3f-2f6c4f3a9b10"
OTHER = "1b0f6f0e-93a5-4d3b-8d3f-2f6c4f3a9b10"


def claim() -> Claim:
    runner = Runner("team", "shop", Refs(UID), 3000, suspended=False, why="")
    return Claim(User("alice"), "create", Target("team", "shop", "exec"), runner)


class Cluster:
    """One runner, and whether RBAC allows; ``asked`` counts the reviews."""

    def __init__(self) -> None:
        self.runner: dict[str, Any] | None = {"metadata": {"name": "shop", "namespace": "team", "uid": UID}}
        self.allowed: bool | None = True
        self.asked = 0
        self.now = 0.0

    def get(self, _namespace: str | None, _name: str) -> dict[str, Any] | None:
        return self.runner

    async def review(self, _asked: dict[str, Any]) -> dict[str, Any]:
        self.asked += 1
        if self.allowed is None:
            raise StatusError(503, "cannot ask")
        return {"status": {"allowed": self.allowed}}

    def clock(self) -> float:
        self.now += 1
        return self.now

    def sessions(self) -> Sessions:
        authorizer = Authorizer(self.review, clock=lambda: self.now * 100)
        return Sessions(self, authorizer, ended=lambda _: None, pace=Pace(look=0.001, ask=2), clock=self.clock)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def end(sessions: Sessions) -> StatusError:
    async with asyncio.timeout(1):
        return await sessions.must_end(claim())


async def test_a_withdrawn_right_ends_the_session(cluster: Cluster) -> None:
    cluster.allowed = False
    assert (await end(cluster.sessions())).reason == "Forbidden"


async def test_an_api_server_that_cannot_be_asked_ends_nothing(cluster: Cluster) -> None:
    cluster.allowed = None
    ending = asyncio.ensure_future(end(cluster.sessions()))
    while cluster.asked < 3:  # noqa: ASYNC110 - the played API server has no event to wait for
        await asyncio.sleep(0)
    assert not ending.done()
    cluster.allowed = False
    assert (await ending).reason == "Forbidden"


@pytest.mark.parametrize(
    ("runner", "reason"),
    [
        (None, "NotFound"),
        ({"metadata": {"uid": UID, "deletionTimestamp": "2026-01-01T00:00:00Z"}}, "Gone"),
        ({"metadata": {"uid": OTHER}}, "Gone"),
        ({"metadata": {"uid": UID}, "spec": {"operatingMode": "Suspended"}}, "Suspended"),
    ],
    ids=["gone", "being deleted", "made anew", "suspended"],
)
async def test_a_runner_that_goes_away_ends_the_session(cluster: Cluster, runner: dict[str, Any] | None, reason: str) -> None:
    cluster.runner = runner
    assert (await end(cluster.sessions())).reason == reason


async def test_a_server_that_leaves_says_so(cluster: Cluster) -> None:
    sessions = cluster.sessions()
    sessions.shut_down()
    error = await end(sessions)
    assert (error.code, "connect again" in error.message) == (503, True)
