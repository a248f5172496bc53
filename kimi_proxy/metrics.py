"""Prometheus metrics, right over several workers.

With a directory for shared values (`gunicorn.conf.py` makes one) every worker writes
its own files there and a scrape adds them up, whichever worker it reaches. Pool states
are read from the state store at scrape time.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from kimi_proxy.errors import StateUnavailable
from kimi_proxy.telemetry import RefreshEnded, RequestEnded

_STATES = ("ok", "refreshing", "cooling", "exhausted", "disabled", "dead")
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

Pools = Callable[[], Iterable[tuple[str, str, int]]]


class Metrics:
    """Counts what observers are told; `scrape` renders it.

    `pools` yields (provider, state, number of accounts). `directory` is where the
    workers' values lie, None for a single process.
    """

    def __init__(self, pools: Pools, directory: str | None) -> None:
        self._pools = pools
        self._directory = directory
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "kimi_proxy_requests",
            "Client requests by route, status and outcome.",
            ["route", "status", "outcome"],
            registry=registry,
        )
        self._first = Histogram(
            "kimi_proxy_first_event_seconds",
            "From the request's arrival to the upstream's first event.",
            ["provider"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._attempts = Counter(
            "kimi_proxy_attempts",
            "Tries with one account, by outcome.",
            ["provider", "outcome"],
            registry=registry,
        )
        self._refreshes = Counter(
            "kimi_proxy_refreshes",
            "Renewals of access tokens, by outcome.",
            ["provider", "outcome"],
            registry=registry,
        )
        self._open = Gauge(
            "kimi_proxy_open_requests",
            "Requests being answered now, open streams among them.",
            registry=registry,
            multiprocess_mode="livesum",
        )

    # A worker's values lie in files. A disk without room for one of them must cost no
    # answer, and nothing that is done after the counting.
    def request_started(self) -> None:
        with suppress(OSError):
            self._open.inc()

    def request_ended(self, details: RequestEnded) -> None:
        with suppress(OSError):
            self._count(details)

    def _count(self, details: RequestEnded) -> None:
        self._open.dec()
        labels = (details.route, str(details.status), details.outcome)
        self._requests.labels(*labels).inc()
        for attempt in details.attempts:
            self._attempts.labels(attempt.provider, attempt.outcome).inc()
        if details.first_event is not None and details.attempts:
            provider = details.attempts[-1].provider
            self._first.labels(provider).observe(details.first_event)

    def refresh_ended(self, details: RefreshEnded) -> None:
        with suppress(OSError):
            self._refreshes.labels(details.provider, details.outcome).inc()

    def scrape(self) -> bytes:
        """All metrics in Prometheus' text format."""
        if self._directory is None:
            registry = self._registry
            return generate_latest(registry) + self._scrape_pools()
        shared = CollectorRegistry()
        # The library has no types for it.
        MultiProcessCollector(shared, path=self._directory)  # type: ignore[no-untyped-call]
        return generate_latest(shared) + self._scrape_pools()

    def _scrape_pools(self) -> bytes:
        registry = CollectorRegistry()
        try:
            registry.register(_PoolCollector(self._pools))
            return generate_latest(registry)
        except StateUnavailable:  # when it fails the other figures are needed most
            return b""


class _PoolCollector(Collector):
    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    def collect(self) -> Iterator[Any]:
        family = GaugeMetricFamily(
            "kimi_proxy_accounts",
            "Accounts by state.",
            labels=["provider", "state"],
        )
        counts: dict[tuple[str, str], int] = {}
        for provider, state, number in self._pools():
            for known in _STATES:
                counts.setdefault((provider, known), 0)
            counts[provider, state] = counts.get((provider, state), 0) + number
        for labels, number in counts.items():
            family.add_metric(labels, number)
        yield family
