"""The metrics board: serves the newest figures of all runs of a cluster to Prometheus, at one address.

A plain class, which ``adaswitch.cluster.actors`` makes an actor on the cluster's head. Trainers report to it, also for
their queue and their students. It adds nothing up and keeps nothing but the newest report of each part, so that a board
that was lost and restarted serves the same series again after the next report.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adaswitch.runs.exported import COUNTER, FAMILIES, RUN, SOURCE, Family, Report, Sample

KEPT_S = 60.0
"""The seconds for which a report is served if no newer one comes: long enough for several scrapes after a run's end."""


@dataclass(frozen=True)
class _Kept:
    report: Report
    received_s: float


class MetricsBoard(Collector):
    """Serves what is reported. All methods may be called in any thread."""

    def __init__(self, host: str, port: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Serve at ``host`` and ``port``, with 0 at any free port. ``complaint`` says why that is not possible."""
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str, str], _Kept] = {}  # by run, part and source
        self._newest_s: dict[str, float] = {}  # by run
        self._address = (host, port)
        self._complaint: str | None = None
        self.port: int | None = None
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)
        try:
            server, _ = start_http_server(port, host, self.registry)
        except OSError as error:
            self._complaint = (
                f"{host}:{port} on the cluster's head cannot be listened on ({error.strerror or error})"
            )
        else:
            self.port = server.server_port

    def complaint(self, host: str, port: int) -> str | None:
        """Why the metrics are not served at ``host`` and ``port``; None if they are."""
        if self._complaint is None and (host, port) != self._address:
            served = ":".join(map(str, self._address))
            return f"the metrics of this cluster are served at {served}, and not at {host}:{port}"
        return self._complaint

    def report(self, run: str, reports: Sequence[Report]) -> None:
        """Take the newest reports of all parts of ``run``. A trainer, or a queue, takes the place of the one before.

        A student that is in none of them is gone: its gauges are served no more, and its counters for a while.
        """
        now_s = self._clock()
        with self._lock:
            self._newest_s[run] = now_s
            for report in reports:
                self._take(run, report, now_s)

    def _take(self, run: str, report: Report, now_s: float) -> None:
        key = (run, report.part, report.source)
        alone = report.part != "student"
        before = [other for other in self._kept if (other[:2] == key[:2] if alone else other == key)]
        if any(self._kept[other].report.made_at > report.made_at for other in before):
            return
        for other in before:
            del self._kept[other]
        self._kept[key] = _Kept(report, now_s)

    def collect(self) -> Iterator[Metric]:
        """All metrics, for ``prometheus_client``."""
        metrics = {name: _metric(name, family) for name, family in FAMILIES.items()}
        for run, source, sample in self._samples():
            # A part of another version may know metrics, or labels, that this one does not.
            with suppress(KeyError):
                labels = [sample.labels[label] for label in FAMILIES[sample.name].labels]
                metrics[sample.name].add_metric([run, source, *labels], sample.value)
        return (metric for metric in metrics.values() if metric.samples)

    def _samples(self) -> list[tuple[str, str, Sample]]:
        """Run, source and sample of all that is served now. What is too old is forgotten."""
        with self._lock:
            oldest_s = self._clock() - KEPT_S
            self._kept = {key: kept for key, kept in self._kept.items() if kept.received_s >= oldest_s}
            self._newest_s = {run: at_s for run, at_s in self._newest_s.items() if at_s >= oldest_s}
            return [
                (run, source, sample)
                for (run, _, source), kept in self._kept.items()
                for sample in kept.report.samples
                if _is_counter(sample) or kept.received_s == self._newest_s[run]
            ]


def _is_counter(sample: Sample) -> bool:
    return sample.name in FAMILIES and FAMILIES[sample.name].kind == COUNTER


def _metric(name: str, family: Family) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if family.kind == COUNTER else GaugeMetricFamily
    return kind(name, family.meaning, labels=[RUN, SOURCE, *family.labels])
