"""Counters of the API server in Prometheus' text form. Labels come from fixed sets: no caller can make a new series."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

# Seconds. The goal of a one-file sync is 4 ms; 60 s is where the API server gives up.
_BOUNDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
OTHER = "other"


class Metrics:
    def __init__(self, verbs: Iterable[str]) -> None:
        self._verbs = frozenset(verbs)
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._sums: Counter[str] = Counter()
        self.in_flight = 0

    def observe(self, verb: str, code: int, seconds: float) -> None:
        """One finished request; a verb that is not served counts as ``other``."""
        label = verb if verb in self._verbs else OTHER
        self._requests[label, code if 100 <= code <= 599 else 0] += 1
        self._buckets.setdefault(label, [0] * (len(_BOUNDS) + 1))[bisect_left(_BOUNDS, seconds)] += 1
        self._sums[label] += seconds  # type: ignore[assignment]  # Counter adds floats as well as it adds ints

    def render(self) -> str:
        lines = ["# TYPE sandbox_apiserver_requests_total counter"]
        lines += [
            f'sandbox_apiserver_requests_total{{verb="{verb}",code="{code}"}} {count}'
            for (verb, code), count in sorted(self._requests.items())
        ]
        lines.append("# TYPE sandbox_apiserver_request_duration_seconds histogram")
        for verb, buckets in sorted(self._buckets.items()):
            seen = 0
            for bound, count in zip((*_BOUNDS, "+Inf"), buckets, strict=True):
                seen += count
                lines.append(f'sandbox_apiserver_request_duration_seconds_bucket{{verb="{verb}",le="{bound}"}} {seen}')
            lines.append(f'sandbox_apiserver_request_duration_seconds_sum{{verb="{verb}"}} {self._sums[verb]:.6f}')
            lines.append(f'sandbox_apiserver_request_duration_seconds_count{{verb="{verb}"}} {seen}')
        lines += [
            "# TYPE sandbox_apiserver_requests_in_flight gauge",
            f"sandbox_apiserver_requests_in_flight {self.in_flight}",
            "",
        ]
        return "\n".join(lines)
