"""Students for all runs on a cluster. They find a run when it begins, and need no settings of it beforehand."""

import contextlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from adaswitch.cluster import actors
from adaswitch.cluster.rollout_queue import OpenRun
from adaswitch.config.parsing import parse_config
from adaswitch.errors import AdaSwitchError, ConfigError
from adaswitch.last_words import one_line
from services.student.service import ANSWER_WAIT_S, OVER, StudentService

MAX_RUNS = 64
"""The largest number of runs that are served at the same time. More runs wait until another run ends."""


class Runs(Protocol):
    """The runs of a cluster."""

    def open(self) -> Iterator[tuple[str, OpenRun]]:
        """The names of the runs that want rollouts, and the runs."""

    def serve(self, name: str, run: OpenRun, should_stop: Callable[[], bool]) -> str:
        """Roll out for ``run`` until it is over, and return why. Raises ``AdaSwitchError`` if it cannot be served."""


@dataclass
class _Serving:
    """A run that is being served. ``stopped`` asks its thread to end."""

    run: OpenRun
    result: Future[str] = field(default_factory=Future)
    stopped: bool = False


class StudentHost:
    """Serves each open run in a thread of its own. ``say`` gets a line when a run begins and when it ends."""

    def __init__(self, runs: Runs, say: Callable[[str], None]) -> None:
        self._runs = runs
        self._say = say
        self._threads = ThreadPoolExecutor(MAX_RUNS, thread_name_prefix="run")
        self._serving: dict[str, _Serving] = {}
        self._ended: dict[str, str] = {}  # for each run the attempt that ended or failed

    def look(self) -> None:
        """Note the runs that have ended, and begin to serve new runs. Raises errors that are not caused by a run."""
        for name, serving in list(self._serving.items()):
            if serving.result.done():
                self._end(name, serving)
        for name, run in self._runs.open():
            serving_now = self._serving.get(name)
            if serving_now is not None:
                # A restarted trainer goes on with the same students, unless the terms of the run have changed.
                serving_now.stopped |= run.terms != serving_now.run.terms
            elif self._ended.get(name) != run.attempt:
                self._begin(name, run)

    def _begin(self, name: str, run: OpenRun) -> None:
        self._say(f"{name}: rolling out")
        serving = self._serving[name] = _Serving(run)
        serving.result = self._threads.submit(self._runs.serve, name, run, lambda: serving.stopped)

    def _end(self, name: str, serving: _Serving) -> None:
        del self._serving[name]
        try:
            self._say(f"{name}: {serving.result.result()}")
        except AdaSwitchError as error:
            self._say(f"{name}: error: {one_line(error)}")
        if not serving.stopped:
            self._ended[name] = serving.run.attempt

    def close(self) -> None:
        """Make the students of all runs give back their leases and end."""
        for serving in self._serving.values():
            serving.stopped = True
        self._threads.shutdown()
        for name, serving in list(self._serving.items()):
            self._end(name, serving)


class RayRuns:
    """The runs of the cluster that this process joined. Students start on ``node`` alone, or anywhere without it."""

    def __init__(self, node: str | None) -> None:
        self._node = node

    def open(self) -> Iterator[tuple[str, OpenRun]]:
        """See ``Runs``."""
        for name in actors.run_names():
            handles = actors.existing(name)
            if handles is None:
                continue
            try:
                run: OpenRun | None = ray.get(handles[0].open_run.remote(), timeout=ANSWER_WAIT_S)
            except (RayError, AttributeError):
                # The run has just ended, or its queue is being restarted; the next look will tell. Or the queue was
                # started by other code, without open_run, and its run needs students of its own.
                continue
            if run is not None:
                yield name, run

    def serve(self, name: str, run: OpenRun, should_stop: Callable[[], bool]) -> str:
        """See ``Runs``."""
        handles = actors.existing(name)
        if handles is None:
            return OVER
        queue, board = handles
        try:
            config = parse_config(json.loads(run.settings))
        except (ConfigError, ValueError) as error:
            message = f"the students cannot read the run's settings: {error}"
            with contextlib.suppress(RayActorError, GetTimeoutError):
                ray.get(queue.fail.remote(message), timeout=ANSWER_WAIT_S)
            raise ConfigError(message) from None
        return StudentService(config, queue, board, should_stop, self._node, run.terms, run.working_dir).run()
