"""What the API server counts, for Prometheus. Every label value comes from a fixed set: no caller can make a new series.

docs/operations.md explains each name. Times are seconds, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from sandbox_operator.apiserver import limits

# The goal of a one-file sync is 4 ms; 60 s is where the API server gives up.
_BOUNDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
OTHER = "other"
# An app behind `proxy` may answer any number; 499 is the caller that went away.
_CODES = frozenset(str(status.value) for status in HTTPStatus) | {"499"}
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
KINDS = ("requests", "streams")
DIAL_FAILURES = ("unreachable", "certificate", "token", "broken", "silent", "credentials")
"""Why an agent did not answer: no connection, another certificate, our token unknown, broken off, silent, no Secret."""
SESSION_ENDS = ("Closed", "Forbidden", "NotFound", "Gone", "Suspended", "ServiceUnavailable", "BadGateway")
"""How a session of exec ended: by one of its two sides, or by a Status of this reason."""

# a second series per counter, which only says when it was made
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """``verbs`` are the names that are served; everything else is counted as :data:`OTHER`."""

    def __init__(self, verbs: Iterable[str]) -> None:
        self._verbs = frozenset(verbs)
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        prefix = "sandbox_apiserver"
        self._requests = Counter(f"{prefix}_requests", "Answered requests.", ("verb", "code"), registry=registry)
        # streams last as long as somebody looks: in the histogram they would say nothing about speed
        self._seconds = Histogram(
            f"{prefix}_request_duration_seconds",
            "Time to the end of the answer, without streams.",
            ("verb",),
            buckets=_BOUNDS,
            registry=registry,
        )
        self._in_flight = Gauge(f"{prefix}_requests_in_flight", "Requests being answered.", ("kind",), registry=registry)
        self._received = Counter(f"{prefix}_received_bytes", "Request bodies; no upgrades.", ("verb",), registry=registry)
        self._sent = Counter(f"{prefix}_sent_bytes", "Answers; no upgrades.", ("verb",), registry=registry)
        self._refused = Counter(f"{prefix}_limited", "Requests answered 429, by limit.", ("limit",), registry=registry)
        self._dial = Counter(f"{prefix}_agent_failures", "Requests an agent did not answer.", ("cause",), registry=registry)
        self._reviews = Counter(f"{prefix}_authorizations", "Authorization questions.", ("answer",), registry=registry)
        self._ends = Counter(
            f"{prefix}_exec_sessions", "Ended sessions of exec, by what ended them.", ("end",), registry=registry
        )
        for kind in KINDS:
            self._in_flight.labels(kind)
        for limit in limits.NAMES:
            self._refused.labels(limit)
        for cause in DIAL_FAILURES:
            self._dial.labels(cause)
        for end in SESSION_ENDS:
            self._ends.labels(end)
        for answer in ("cached", "asked"):
            self._reviews.labels(answer)

    def _verb(self, verb: str) -> str:
        return verb if verb in self._verbs else OTHER

    @contextmanager
    def in_flight(self, kind: limits.Kind) -> Iterator[None]:
        gauge = self._in_flight.labels(kind)
        gauge.inc()
        try:
            yield
        finally:
            gauge.dec()

    def observe(self, verb: str, code: int, seconds: float | None) -> None:
        """One answered request; ``seconds`` is None for a stream."""
        label = self._verb(verb)
        self._requests.labels(label, str(code) if str(code) in _CODES else OTHER).inc()
        if seconds is not None:
            self._seconds.labels(label).observe(seconds)

    def transferred(self, verb: str, received: int, sent: int) -> None:
        label = self._verb(verb)
        self._received.labels(label).inc(received)
        self._sent.labels(label).inc(sent)

    def limited(self, limit: str) -> None:
        self._refused.labels(limit if limit in limits.NAMES else OTHER).inc()

    def agent_failed(self, cause: str) -> None:
        self._dial.labels(cause if cause in DIAL_FAILURES else OTHER).inc()

    def authorized(self, cached: bool) -> None:
        self._reviews.labels("cached" if cached else "asked").inc()

    def session_ended(self, reason: str) -> None:
        self._ends.labels(reason if reason in SESSION_ENDS else OTHER).inc()

    def render(self) -> bytes:
        """In the one form that every scraper reads, :data:`CONTENT_TYPE`."""
        return generate_latest(self._registry)
