"""The service's own Prometheus metrics, and the middleware that counts requests by route and code."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class TeacherMetrics:
    """One set for each app, in a registry of its own."""

    def __init__(self) -> None:
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
        self.ready = Gauge(
            "adaswitch_teacher_ready", "1 while new work is taken, else 0.", registry=self._registry
        )

    def text(self) -> str:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry).decode()


class MetricsMiddleware:
    """Counts and times every HTTP request."""

    def __init__(self, app: ASGIApp, metrics: TeacherMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start_s = time.perf_counter()
        code = "500"

        async def send_and_note(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            # The router has noted the route that it chose, so that made-up paths make no new series.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, code).inc()
            self._metrics.latency.labels(route).observe(time.perf_counter() - start_s)
