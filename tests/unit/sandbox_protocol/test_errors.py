import json

from sandbox_protocol.errors import Cause, StatusError


def test_a_status_survives_the_way_there_and_back() -> None:
    sent = StatusError(413, "too many files", causes=[Cause("files", "TooMany", "20001 of 20000")], retry_after=3)
    got = StatusError.from_body(413, sent.body())
    assert (got.code, got.message, got.reason, got.causes, got.retry_after) == (
        413,
        "too many files",
        sent.reason,
        sent.causes,
        3,
    )
    assert got.body() == sent.body()


def test_a_body_that_is_no_status_becomes_a_short_message() -> None:
    got = StatusError.from_body(502, "<html>" + "x" * 10_000)
    assert got.reason == "BadGateway"
    assert len(got.message) < 320
    assert got.message.startswith("HTTP 502: <html>")


def test_hostile_details_do_not_break_the_reading() -> None:
    got = StatusError.from_body(
        400, {"kind": "Status", "details": {"causes": [None, 3, {"field": 7}], "retryAfterSeconds": "soon"}}
    )
    assert got.causes == (Cause("7", "", ""),)
    assert got.retry_after is None


def test_half_a_surrogate_pair_of_a_caller_s_is_spelt_out_in_the_answer() -> None:
    body = StatusError(400, "unknown \udcff", causes=[Cause("\udcff", "Unknown", "ö\ud800")]).body()
    json.dumps(body, ensure_ascii=False).encode()
    assert body["message"] == "unknown \\udcff"
    assert body["details"]["causes"][0]["message"] == "ö\\ud800"
