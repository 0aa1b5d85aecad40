from __future__ import annotations

import pytest

from sandbox_operator.kube import errors


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (401, "Unauthorized", errors.Unauthorized),
        (403, "Forbidden", errors.Forbidden),
        (404, "NotFound", errors.NotFound),
        (409, "Conflict", errors.Conflict),
        (409, "AlreadyExists", errors.AlreadyExists),
        (410, "Expired", errors.Gone),
        (422, "Invalid", errors.Invalid),
        (429, "TooManyRequests", errors.TooManyRequests),
        (500, "InternalError", errors.Unavailable),
        (504, "Timeout", errors.Unavailable),
        (418, "Teapot", errors.ApiError),
    ],
)
def test_each_answer_has_its_class(code: int, reason: str, kind: type[errors.ApiError]) -> None:
    body = {"kind": "Status", "message": "m", "reason": reason, "details": {"causes": [{"field": "f", "message": "c"}]}}
    error = errors.from_answer(code, body)
    assert type(error) is kind
    assert (error.code, error.message, error.reason, error.causes) == (code, "m", reason, (("f", "c"),))


def test_an_answer_that_is_no_status_is_told_short() -> None:
    assert errors.from_answer(502, "<html>" + "x" * 1000).message == "HTTP 502: <html>" + "x" * 294


def test_retry_after_comes_from_the_body_else_from_the_header() -> None:
    assert errors.from_answer(429, {"kind": "Status", "details": {"retryAfterSeconds": 3}}, "9").retry_after == 3
    assert errors.from_answer(429, "busy", "9").retry_after == 9
    assert errors.from_answer(429, "busy", "soon").retry_after is None
