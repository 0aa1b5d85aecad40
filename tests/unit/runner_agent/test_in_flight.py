import pytest
from aiohttp.test_utils import make_mocked_request

from runner_agent.in_flight import InFlight
from sandbox_protocol.errors import StatusError

STATUS, FOLLOW, WATCH = (
    make_mocked_request("GET", path) for path in ("/v1/status", "/v1/log?follow=true", "/v1/sync?watch=true")
)


def test_one_request_too_many_is_refused_with_both_numbers_and_admitted_once_one_ended() -> None:
    places = InFlight(short=1, streams=1)
    with places.entered(STATUS):
        with pytest.raises(StatusError, match="is answering 1 requests, 1 are allowed") as refused, places.entered(STATUS):
            pass
        assert (refused.value.code, refused.value.retry_after) == (429, 1)
    with places.entered(STATUS):
        pass


def test_streams_and_short_requests_do_not_take_each_others_places() -> None:
    places = InFlight(short=1, streams=1)
    with places.entered(FOLLOW), places.entered(STATUS), pytest.raises(StatusError, match="1 long-running requests"):
        places.entered(WATCH).__enter__()


def test_a_request_that_fails_gives_its_place_back() -> None:
    places = InFlight(short=1)
    for _ in range(2):
        with pytest.raises(ConnectionError), places.entered(STATUS):
            raise ConnectionError
