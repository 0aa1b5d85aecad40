"""A byte-level Hypothesis strategy from a target's corpus: pieces of what is kept, and what differs from it by a little."""

from __future__ import annotations

import time

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.target import MAX_BYTES, TARGETS, corpus

INTERESTING = (
    b"\0",
    b"\xff",
    b"\r\n",
    b"\n",
    b":",
    b",",
    b'"',
    b"\\",
    b"/",
    b"..",
    b"-1",
    b"0",
    b"\x80",
    b"[[[[",
    b"1e999",
    b"%00",
)


@st.composite
def _changed(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        cut = draw(st.integers(0, 4))
        other = draw(st.sampled_from(seeds))
        begin = draw(st.integers(0, len(other)))
        piece = draw(
            st.one_of(
                st.sampled_from(INTERESTING), st.binary(max_size=4), st.just(other[begin : begin + 64]), st.just(other[begin:])
            )
        )
        data = data[:at] + piece + data[at + cut :]
    return data[:MAX_BYTES]


def inputs(name: str) -> st.SearchStrategy[bytes]:
    """Mostly neighbours of the corpus, some plain bytes."""
    return st.one_of(_changed(list(corpus(name)) or [b""]), st.binary(max_size=64))


def attempt(name: str, examples: int) -> None:
    """Raises what the target raises, for the smallest input that Hypothesis finds."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(name))
    def holds(data: bytes) -> None:
        TARGETS[name](data)

    holds()


def search(name: str, seconds: float) -> bytes | None:
    """Random inputs until the time is over; the first that fails."""
    failing = b""

    @settings(max_examples=200, deadline=None, database=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
    @given(inputs(name))
    def holds(data: bytes) -> None:
        nonlocal failing
        try:
            TARGETS[name](data)
        except Exception:
            failing = data
            raise

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            holds()
        except Exception:
            return failing
    return None
