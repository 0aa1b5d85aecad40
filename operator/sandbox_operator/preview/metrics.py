"""What the gateway counts, for Prometheus. Every label value comes from a fixed set; a request costs integers only.

docs/operations.md explains each name.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sandbox_operator.preview.access import Access
from sandbox_operator.preview.gateway import Gateway
from sandbox_protocol.http1_proxy import Proxy

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_PREFIX = "sandbox_preview"


class Metrics(Collector):
    """Reads the parts' own counters when it is asked."""

    def __init__(self, proxy: Proxy, gateway: Gateway, access: Access) -> None:
        self._proxy = proxy
        self._gateway = gateway
        self._access = access
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def collect(self) -> Iterator[Metric]:
        proxy = self._proxy
        answers = CounterMetricFamily(f"{_PREFIX}_responses", "Responses, by the class of their status.", labels=["code"])
        for hundreds, count in enumerate(proxy.answered[1:], start=1):
            answers.add_metric([f"{hundreds}xx"], count)
        yield answers
        yield CounterMetricFamily(f"{_PREFIX}_remembered", "Requests whose header block was known.", value=proxy.quick)
        yield CounterMetricFamily(f"{_PREFIX}_turned_away", "Connections that were one too many.", value=proxy.turned_away)
        yield CounterMetricFamily(f"{_PREFIX}_cut", "Exchanges ended because their session was over.", value=proxy.cut)
        yield GaugeMetricFamily(f"{_PREFIX}_connections", "Open connections of clients.", value=len(proxy.clients))
        refused = CounterMetricFamily(f"{_PREFIX}_refused", "Requests that reached no app, by reason.", labels=["reason"])
        for reason, count in self._gateway.refused.items():
            refused.add_metric([reason], count)
        yield refused
        yield CounterMetricFamily(f"{_PREFIX}_sessions", "Signed URLs swapped for a session.", value=self._gateway.begun)
        reviews = CounterMetricFamily(f"{_PREFIX}_authorizations", "Questions whether a user has the right.", labels=["answer"])
        for answer, count in self._access.reviews.items():
            reviews.add_metric([answer], count)
        yield reviews

    def render(self) -> bytes:
        return generate_latest(self._registry)
