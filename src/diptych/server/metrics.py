"""What a server counts of itself, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from diptych.server.gate import Gate
    from diptych.server.holding import Holding

__all__ = ["Metrics"]

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server; each has its own, so that many may live in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "diptych_requests_total",
            "Requests that were answered, by endpoint, method and status.",
            ("endpoint", "method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "diptych_request_seconds",
            "Seconds until a request was answered.",
            ("endpoint",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "diptych_encoded_batch_size",
            "Texts or pictures that were encoded together.",
            buckets=_SIZES,
            registry=self._registry,
        )
        self._gates = Gauge(
            "diptych_working_requests", "Requests that work or wait.", ("kind",), registry=self._registry
        )
        self._items = Gauge(
            "diptych_items", "Items of a collection.", ("collection", "side"), registry=self._registry
        )
        self._jobs = Counter(
            "diptych_jobs_total", "Jobs that ended, by how they did.", ("state",), registry=self._registry
        )

    def answered(self, endpoint: str, method: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(endpoint, method, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def encoded(self, size: int) -> None:
        """Count a batch of an encoder."""
        self._batches.observe(size)

    def ended(self, state: str) -> None:
        """Count a job."""
        self._jobs.labels(state).inc()

    def text(self, holding: Holding, gates: Iterable[Gate]) -> bytes:
        """All of it in the text format of Prometheus."""
        for gate in gates:
            self._gates.labels(gate.name).set(gate.taken)
        for served in holding:
            for side in ("image", "text"):
                count: Any = served.collection.count(side)
                self._items.labels(served.name, side).set(count)
        return generate_latest(self._registry)
