from __future__ import annotations

import pytest

from tests.bench.gateway import Measured, parse

REPORT = """Running 4s test @ http://127.0.0.1:1/small
  1 threads and 64 connections
  Latency Distribution
     50%    {median}
     99%    9.00ms
  100 requests in 4.00s, 1.00MB read
{extra}Requests/sec:  {rate}
Transfer/sec:      1.00MB
"""


@pytest.mark.parametrize(("median", "expected"), [("250.00us", 0.25), ("3.50ms", 3.5), ("1.20s", 1200.0)])
def test_the_rate_and_the_median_are_read_in_one_unit(median: str, expected: float) -> None:
    assert parse(REPORT.format(median=median, rate="4900.12", extra="")) == Measured(4900.12, expected)


@pytest.mark.parametrize("extra", ["  Non-2xx or 3xx responses: 7\n", "  Socket errors: connect 0, read 3, write 0, timeout 0\n"])
def test_a_round_with_failed_answers_is_no_measurement(extra: str) -> None:
    with pytest.raises(RuntimeError, match="wrk:"):
        parse(REPORT.format(median="1.00ms", rate="10", extra=extra))


@pytest.mark.parametrize("report", ["", REPORT.format(median="1.00ms", rate="0.00", extra="")])
def test_a_round_without_answers_is_no_measurement(report: str) -> None:
    with pytest.raises(RuntimeError, match="measured nothing"):
        parse(report)
