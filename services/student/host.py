"""Students for whatever runs there are on a cluster: none has to be told of a run before it begins."""

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
from services.student.service import ANSWER_WAIT_S, OVER, StudentService

MAX_RUNS = 64
"""Served at the same time; more wait for one to end."""


class Runs(Protocol):
    """The cluster, as far as its runs go."""

    def open(self) -> Iterator[tuple[str, OpenRun]]:
        """The runs that rollouts are wanted for, by name."""

    def serve(self, name: str, run: OpenRun, should_stop: Callable[[], bool]) -> str:
        """Roll out for one until it is over. Returns why it ended; raises ``AdaSwitchError`` if it cannot."""


@dataclass
class _Serving:
    """A run under way. ``stopped`` asks its thread to end."""

    run: OpenRun
    result: Future[str] = field(default_factory=Future)
    stopped: bool = False


class StudentHost:
    """Serves each open run in a thread of its own. ``say`` gets a line when one is begun and when it ends."""

    def __init__(self, runs: Runs, say: Callable[[str], None]) -> None:
        self._runs = runs
        self._say = say
        self._threads = ThreadPoolExecutor(MAX_RUNS, thread_name_prefix="run")
        self._serving: dict[str, _Serving] = {}
        self._ended: dict[str, str] = {}  # a run's attempt that was served to its end, or in vain

    def look(self) -> None:
        """Note what has ended, begin what is new. Raises what no run is to blame for."""
        for name, serving in list(self._serving.items()):
            if serving.result.done():
                self._end(name, serving)
        for name, run in self._runs.open():
            serving_now = self._serving.get(name)
            if serving_now is not None:
                # A trainer that was started again goes on with the same students, unless it wants others.
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
            self._say(f"{name}: error: {error}")
        if not serving.stopped:
            self._ended[name] = serving.run.attempt

    def close(self) -> None:
        """Have all runs' students give back what they have, and end."""
        for serving in self._serving.values():
            serving.stopped = True
        self._threads.shutdown()
        for name, serving in list(self._serving.items()):
            self._end(name, serving)


class RayRuns:
    """The runs of the cluster that this process joined; students on ``node`` alone, or anywhere."""

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
                # It ended just now or is being restarted, which the next look will tell; or it is a queue of other
                # code, which knows no open_run: that run needs students of its own.
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
