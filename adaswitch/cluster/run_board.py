"""``RunBoard``: the metrics board and the queue of one run, as the trainer reports its figures through them."""

import contextlib
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from adaswitch.cluster import actors
from adaswitch.config.run import RunConfig
from adaswitch.runs.exported import Report

ANSWER_WAIT_S = 5.0
START_WAIT_S = 60.0
"""The seconds for which a new board is waited for."""


class RunBoard:
    """Blocking calls, for a thread of their own. What is lost with an actor that is being restarted is not repeated."""

    def __init__(self, config: RunConfig) -> None:
        """Find the board of the cluster, or start it. Raises ``RayError`` if the cluster does not answer."""
        self._name = config.name
        self._address = (config.ray.metrics_host, config.ray.metrics_port)
        self._board = actors.metrics_board(config)
        self._actors = actors.existing(config.name)

    def complaint(self) -> str | None:
        """Why the metrics are not served at the address that the settings name; None if they are."""
        found: str | None = ray.get(self._board.complaint.remote(*self._address), timeout=START_WAIT_S)
        return found

    def others(self) -> Sequence[Report]:
        """The reports of the queue and of the students; none while the queue does not answer."""
        if self._actors is None:
            return []
        with contextlib.suppress(RayError):
            reports = _once(self._actors[0].reports).remote()
            found: list[Report] = ray.get(reports, timeout=ANSWER_WAIT_S)
            return found
        return []

    def report(self, reports: Sequence[Report]) -> None:
        """Give the board the newest reports of the run. If it does not answer, they are lost."""
        with contextlib.suppress(RayError):
            ray.get(_once(self._board.report).remote(self._name, list(reports)), timeout=ANSWER_WAIT_S)


def _once(method: Any) -> Any:  # noqa: ANN401 - Ray's methods have no static type
    """``method``, which is not called again if the actor dies meanwhile."""
    return method.options(max_task_retries=0)
