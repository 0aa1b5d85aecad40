import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_operator.apiserver import limits
from sandbox_operator.apiserver.lifetime import endless
from sandbox_operator.apiserver.limits import Allowance, Kind, Ledger, Limiter, Limits, TooManyError
from sandbox_operator.errors import SettingsError

SMALL = Allowance(requests=2, streams=1, per_second=10, burst=4)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(clock: Clock) -> Ledger:
    return Ledger("user", SMALL, clock=clock)


def passes(ledger: Ledger, key: str = "alice", kind: Kind = "requests") -> bool:
    try:
        with ledger.entered(key, f'user "{key}"', kind):
            return True
    except TooManyError:
        return False


def test_requests_beyond_those_allowed_at_once_are_refused_with_both_numbers(ledger: Ledger) -> None:
    with ledger.entered("alice", "user alice", "requests"), ledger.entered("alice", "user alice", "requests"):
        with pytest.raises(TooManyError) as refused, ledger.entered("alice", "user alice", "requests"):
            pass
        assert (refused.value.code, refused.value.limit, refused.value.retry_after) == (429, "user_requests", 1)
        assert refused.value.message == "user alice has 2 requests in flight, 2 are allowed; let some end first"
        assert passes(ledger, "bob")
    assert passes(ledger)


def test_streams_leave_the_places_of_short_requests_free(ledger: Ledger) -> None:
    with ledger.entered("alice", "user alice", "streams"):
        assert not passes(ledger, kind="streams")
        assert passes(ledger)


def test_a_burst_is_taken_and_then_the_rate_holds(ledger: Ledger, clock: Clock) -> None:
    assert [passes(ledger) for _ in range(5)] == [True] * 4 + [False]
    clock.now += 0.1
    assert [passes(ledger) for _ in range(2)] == [True, False]
    clock.now += 3600
    assert [passes(ledger) for _ in range(5)] == [True] * 4 + [False]
    assert passes(ledger, "bob")


def test_the_time_to_wait_is_the_time_until_the_next_token(clock: Clock) -> None:
    slow = Ledger("runner", Allowance(requests=9, streams=9, per_second=1, burst=1), clock=clock)
    assert passes(slow)
    with pytest.raises(TooManyError) as refused, slow.entered("alice", "it", "requests"):
        pass
    assert (refused.value.limit, refused.value.retry_after) == ("runner_rate", 1)
    assert "more than 1 requests at once, 1 a second are allowed" in refused.value.message


def test_a_request_that_fails_gives_its_place_back(ledger: Ledger) -> None:
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), ledger.entered("alice", "user alice", "streams"):
            raise ValueError("broken")


def test_any_number_of_names_is_held_in_bounded_memory(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_IDLE", 10)
    with ledger.entered("alice", "user alice", "streams"):
        for number in range(100):
            assert passes(ledger, str(number))
        assert len(ledger) == 11
        assert not passes(ledger, kind="streams"), "an account in use was forgotten"


@given(st.lists(st.tuples(st.sampled_from(["enter", "leave", "wait"]), st.sampled_from(["alice", "bob"]))))
def test_no_order_of_requests_gets_more_than_is_allowed(steps: list[tuple[str, str]]) -> None:
    clock = Clock()
    ledger = Ledger("user", SMALL, clock=clock)
    inside: dict[str, list[object]] = {"alice": [], "bob": []}
    taken: dict[str, list[float]] = {"alice": [], "bob": []}
    for step, who in steps:
        if step == "wait":
            clock.now += 0.05
        elif step == "leave" and inside[who]:
            inside[who].pop().__exit__(None, None, None)  # type: ignore[attr-defined]
        elif step == "enter":
            place = ledger.entered(who, who, "requests")
            try:
                place.__enter__()
            except TooManyError:
                continue
            inside[who].append(place)
            taken[who].append(clock.now)
        assert all(len(held) <= SMALL.requests for held in inside.values())
    for times in taken.values():
        for number, began in enumerate(times):
            ends = times[-1]
            assert len(times) - number <= SMALL.burst + (ends - began) * SMALL.per_second + 1e-6


def test_one_user_gets_at_most_half_of_a_runner_and_a_runner_made_anew_owes_nothing(clock: Clock) -> None:
    limiter = Limiter(Limits(runner=Allowance(requests=4, streams=4, per_second=100, burst=100)), clock=clock)
    with limiter.runner("uid", "shop", "alice", "requests"), limiter.runner("uid", "shop", "alice", "requests"):
        with pytest.raises(TooManyError, match='user "alice" at SandboxRunner "shop" has 2 requests') as refused:
            limiter.runner("uid", "shop", "alice", "requests").__enter__()
        assert refused.value.limit == "share_requests"
        with limiter.runner("uid", "shop", "bob", "requests"), limiter.runner("uid", "shop", "bob", "requests"):
            with pytest.raises(TooManyError, match='SandboxRunner "shop" has 4 requests'):
                limiter.runner("uid", "shop", "carol", "requests").__enter__()
            with limiter.runner("another", "shop", "alice", "requests"):
                pass


def test_limits_come_from_the_environment_and_a_wrong_one_is_named() -> None:
    found = Limits.load({"LIMIT_USER_REQUESTS": "7", "LIMIT_RUNNER_BURST": "9", "LIMIT_USER_STREAMS": ""})
    assert (found.user.requests, found.runner.burst, found.user.streams) == (7, 9, Limits().user.streams)
    for text in ("0", "-1", "many", "1.5", "1" * 20):
        with pytest.raises(SettingsError, match="LIMIT_RUNNER_PER_SECOND"):
            Limits.load({"LIMIT_RUNNER_PER_SECOND": text})


@pytest.mark.parametrize(
    ("verb", "query", "upgrade", "long"),
    [
        ("log", {}, False, True),
        ("log", {"follow": "true"}, False, True),
        ("sync", {"watch": "1"}, False, True),
        ("sync", {"watch": "true"}, False, True),
        ("sync", {"watch": "false"}, False, False),
        ("sync", {"watch": "0"}, False, False),
        ("sync", {"watch": ""}, False, True),
        ("sync", {}, False, False),
        ("proxy", {}, False, True),
        ("exec", {}, False, True),
        ("status", {}, True, True),
    ],
)
def test_what_may_go_on_for_ever_is_a_stream(verb: str, query: dict[str, str], upgrade: bool, long: bool) -> None:
    assert endless(verb, query, upgrade=upgrade) is long
