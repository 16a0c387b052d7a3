"""The service's own Prometheus metrics."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class TeacherMetrics:
    """The metrics of one app, in a registry of its own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._num_at_work = 0
        self._counted_s = 0.0
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "adaswitch_teacher_requests",
            "Requests answered; code 499 are those whose client hung up.",
            ("route", "code"),
            registry=self._registry,
        )
        self.latency = Histogram(
            "adaswitch_teacher_request_seconds",
            "From a request's arrival to the end of its answer.",
            ("route",),
            buckets=LATENCY_BUCKETS_S,
            registry=self._registry,
        )
        self.scored_tokens = Counter(
            "adaswitch_teacher_scored_tokens", "Tokens scored, from start on.", registry=self._registry
        )
        self.generated_tokens = Counter(
            "adaswitch_teacher_generated_tokens", "Tokens generated.", registry=self._registry
        )
        self.in_flight = Gauge(
            "adaswitch_teacher_requests_in_flight",
            "Requests in the house: read, queued or computed.",
            registry=self._registry,
        )
        self.cancelled = Counter(
            "adaswitch_teacher_requests_cancelled",
            "Requests given up: the client hung up or did not take its answer, the deadline passed, the service ended.",
            ("reason",),
            registry=self._registry,
        )
        self.logprob_bytes = Gauge(
            "adaswitch_teacher_logprob_bytes_in_flight",
            "Memory set aside for the log-probabilities of requests under way.",
            registry=self._registry,
        )
        self.requests_limit = Gauge(
            "adaswitch_teacher_requests_limit",
            "How many requests may be in the house.",
            registry=self._registry,
        )
        self.logprob_bytes_limit = Gauge(
            "adaswitch_teacher_logprob_bytes_limit",
            "Memory that may be set aside for log-probabilities.",
            registry=self._registry,
        )
        self.engine_up = Gauge(
            "adaswitch_teacher_engine_up", "1 while the engine runs, else 0.", registry=self._registry
        )
        self.ready = Gauge(
            "adaswitch_teacher_ready", "1 while new work is taken, else 0.", registry=self._registry
        )

        self._busy = Counter(
            "adaswitch_teacher_busy_seconds",
            "The time in which the engine had a request to work on, from start on.",
            registry=self._registry,
        )

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While it is entered, as often as one likes at once, the engine counts as busy."""
        self._count_busy(1)
        try:
            yield
        finally:
            self._count_busy(-1)

    def _count_busy(self, change: int) -> None:
        now_s = self._clock()
        if self._num_at_work:
            self._busy.inc(now_s - self._counted_s)
        self._counted_s = now_s
        self._num_at_work += change

    def text(self) -> str:
        """All metrics in Prometheus' text format."""
        self._count_busy(0)
        return generate_latest(self._registry).decode()
