import asyncio
from typing import Any

import pytest

from sandbox_operator.apiserver import authz
from sandbox_operator.apiserver.authn import User
from sandbox_operator.apiserver.authz import Authorizer
from sandbox_operator.apiserver.target import Target
from sandbox_protocol.errors import StatusError

ALICE = User("alice", ("dev",), "42", (("scopes", ("a", "b")),))
SHOP = Target("team", "shop", "sync")


class Reviews:
    """An API server that allows what is in ``allowed`` and counts the questions."""

    def __init__(self, *allowed: tuple[str, str, str]) -> None:
        self.allowed = set(allowed)
        self.asked: list[dict[str, Any]] = []
        self.status: dict[str, Any] | None = None

    async def __call__(self, review: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(review)
        await asyncio.sleep(0)
        spec = review["spec"]
        wanted = spec["user"], spec["resourceAttributes"]["verb"], spec["resourceAttributes"]["name"]
        return {**review, "status": self.status or {"allowed": wanted in self.allowed}}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_the_review_asks_for_every_attribute_of_the_request() -> None:
    reviews = Reviews(("alice", "create", "shop"))
    await Authorizer(reviews).authorize(ALICE, "create", SHOP)
    assert reviews.asked == [
        {
            "kind": "SubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "spec": {
                "user": "alice",
                "groups": ["dev"],
                "uid": "42",
                "extra": {"scopes": ["a", "b"]},
                "resourceAttributes": {
                    "verb": "create",
                    "group": "subresources.infrastructure.appstudio.dev",
                    "version": "v1alpha1",
                    "resource": "sandboxrunners",
                    "subresource": "sync",
                    "namespace": "team",
                    "name": "shop",
                },
            },
        }
    ]


async def test_a_denied_user_gets_the_words_of_rbac() -> None:
    with pytest.raises(StatusError) as refused:
        await Authorizer(Reviews()).authorize(ALICE, "create", SHOP)
    assert (refused.value.code, refused.value.reason) == (403, "Forbidden")
    assert 'User "alice" cannot create resource "sandboxrunners/sync"' in refused.value.message


@pytest.mark.parametrize("status", [{}, {"allowed": "true"}, {"allowed": True, "denied": True}, {"allowed": None}])
async def test_only_a_clear_yes_allows(status: dict[str, Any]) -> None:
    reviews = Reviews()
    reviews.status = status or {"evaluationError": "broken"}
    with pytest.raises(StatusError):
        await Authorizer(reviews).authorize(ALICE, "create", SHOP)


async def test_an_answer_is_remembered_for_its_time_and_not_longer() -> None:
    reviews, clock = Reviews(("alice", "create", "shop")), Clock()
    authorizer = Authorizer(reviews, clock=clock)
    await authorizer.authorize(ALICE, "create", SHOP)
    clock.now += authz.ALLOWED_SECONDS - 0.1
    await authorizer.authorize(ALICE, "create", SHOP)
    assert len(reviews.asked) == 1
    reviews.allowed.clear()
    clock.now += 0.2
    with pytest.raises(StatusError):
        await authorizer.authorize(ALICE, "create", SHOP)


async def test_a_right_just_granted_works_after_a_second() -> None:
    reviews, clock = Reviews(), Clock()
    authorizer = Authorizer(reviews, clock=clock)
    with pytest.raises(StatusError):
        await authorizer.authorize(ALICE, "create", SHOP)
    reviews.allowed.add(("alice", "create", "shop"))
    clock.now += authz.DENIED_SECONDS + 0.1
    await authorizer.authorize(ALICE, "create", SHOP)


@pytest.mark.parametrize(
    ("user", "action", "target"),
    [
        (User("bob", ("dev",), "42", ALICE.extra), "create", SHOP),
        (User("alice", ("ops",), "42", ALICE.extra), "create", SHOP),
        (User("alice", ("dev",), "43", ALICE.extra), "create", SHOP),
        (User("alice", ("dev",), "42"), "create", SHOP),
        (ALICE, "get", SHOP),
        (ALICE, "create", Target("other", "shop", "sync")),
        (ALICE, "create", Target("team", "other", "sync")),
        (ALICE, "create", Target("team", "shop", "restart")),
    ],
)
async def test_a_remembered_answer_is_for_the_same_question_only(user: User, action: str, target: Target) -> None:
    reviews = Reviews(("alice", "create", "shop"))
    authorizer = Authorizer(reviews)
    await authorizer.authorize(ALICE, "create", SHOP)
    reviews.allowed.clear()
    with pytest.raises(StatusError):
        await authorizer.authorize(user, action, target)


async def test_the_same_question_at_once_is_asked_once() -> None:
    reviews = Reviews(("alice", "create", "shop"))
    authorizer = Authorizer(reviews)
    await asyncio.gather(*(authorizer.authorize(ALICE, "create", SHOP) for _ in range(20)))
    assert len(reviews.asked) == 1


async def test_an_asker_that_gives_up_does_not_take_the_answer_from_others() -> None:
    reviews = Reviews(("alice", "create", "shop"))
    authorizer = Authorizer(reviews)
    first = asyncio.create_task(authorizer.authorize(ALICE, "create", SHOP))
    second = asyncio.create_task(authorizer.authorize(ALICE, "create", SHOP))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert len(reviews.asked) == 1


async def test_a_failed_review_allows_nothing_and_is_not_remembered() -> None:
    calls = 0

    async def broken(review: dict[str, Any]) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        raise StatusError(503, "down")

    authorizer = Authorizer(broken)
    for _ in range(2):
        with pytest.raises(StatusError) as refused:
            await authorizer.authorize(ALICE, "create", SHOP)
        assert refused.value.code == 503
    assert calls == 2


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authz, "MAX_ENTRIES", 3)
    reviews = Reviews(*(("alice", "create", f"r{n}") for n in range(10)))
    authorizer = Authorizer(reviews)
    for n in range(10):
        await authorizer.authorize(ALICE, "create", Target("team", f"r{n}", "sync"))
    assert len(authorizer._answers) == 3
