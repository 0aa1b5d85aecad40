from __future__ import annotations

import contextlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_operator.model.quantity import parse_duration, parse_quantity


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", 1),
        (1, 1),
        ("500m", Decimal("0.5")),
        ("1Gi", 2**30),
        ("1G", 10**9),
        ("1.5Ki", 1536),
        (".5", Decimal("0.5")),
        ("1e3", 1000),
        ("1E", 10**18),
        ("-1", -1),
    ],
)
def test_quantities_are_read_as_kubernetes_does(text: str | int, amount: Decimal) -> None:
    assert parse_quantity(text) == amount


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1gi", "1KiB", "one", "1e", "1.2.3", "٣", "1Gi\n"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quantity"):
        parse_quantity(text)


@given(st.text(max_size=30))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        parse_quantity(text)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2h", 7200)])
def test_durations_are_seconds(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "30", "m", "1d", "-1h", "30m1h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)
