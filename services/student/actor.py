"""The edge to Ray: a student worker as an actor, with the run's queue and weight board.

torch and transformers, which take seconds to import, are imported in the actor's process alone. The service that
starts actors does not need them, and without these imports it starts actors sooner.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import ActorDiedError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from adaswitch.cluster.rollout_queue import Lease
from adaswitch.cluster.weight_board import PublishedWeights
from adaswitch.config.run import RunConfig
from adaswitch.config.threads import reserved_cpus
from adaswitch.errors import QueueClosedError, StaleAttemptError, cause_of
from adaswitch.processes.cores import wait_without_spinning
from adaswitch.runs.exported import Report, Sample
from services.student.place import Place

if TYPE_CHECKING:
    from torch import Tensor

SIGN_EVERY_S = 1.0
WEIGHTS_WAIT_S = 60.0
"""The number of seconds that an actor waits for published weights before it gives the lease up."""


class RayWeights:
    """The weights on the board, which are in Ray's object store."""

    def __init__(self, published: PublishedWeights) -> None:
        self._published = published

    @property
    def version(self) -> int:
        """The number of updates that made the weights."""
        return self._published.version

    async def fetch(self) -> dict[str, "Tensor"]:
        """The tensors as they lie in the object store, which keeps them until they are let go. They are read-only."""
        from adaswitch.cluster.weight_arrays import arrays_to_weights

        try:
            pieces = await asyncio.gather(*self._published.stored)
        except ray.exceptions.ObjectLostError as error:
            raise StaleAttemptError("the trainer was lost with the weights") from error
        return {name: tensor for piece in pieces for name, tensor in arrays_to_weights(piece).items()}


class RaySource:
    """A ``Source`` over the run's queue and weight board."""

    def __init__(self, queue: Any, board: Any, student: str, terms: str | None) -> None:  # noqa: ANN401
        """``queue`` and ``board`` are Ray's handles. ``terms`` are the run's (``OpenRun.terms``) if it was found."""
        self._queue = queue
        self._board = board
        self._student = student
        self._terms = terms
        self._samples: Callable[[], Sequence[Sample]] = tuple

    async def stay_known(self, samples: Callable[[], Sequence[Sample]] = tuple) -> None:
        """Give signs of life until cancelled, or until the run is over.

        The figures of ``samples`` go with them, and with the rollouts.
        """
        self._samples = samples
        with contextlib.suppress(QueueClosedError):
            while True:
                # If the queue does not answer, this sign may be lost, because the next sign is as good.
                with contextlib.suppress(RayError):
                    heard = self._queue.heard.options(max_task_retries=0)
                    await _unless_gone(heard.remote(self._student, self._report()))
                await asyncio.sleep(SIGN_EVERY_S)

    async def lease(self, max_prompts: int, wait_s: float) -> Lease | None:
        """See ``RolloutQueue.lease``."""
        leased = self._queue.lease.remote(self._student, max_prompts, wait_s, self._terms)
        lease: Lease | None = await _unless_gone(leased)
        return lease

    async def newest_weights(self, attempt: str, min_version: int) -> RayWeights:
        """See ``WeightBoard.newest``."""
        newest = self._board.newest.remote(attempt, min_version, WEIGHTS_WAIT_S)
        return RayWeights(await _unless_gone(newest))

    async def put(self, attempt: str, rollouts: dict[int, bytes]) -> None:
        """See ``RolloutQueue.put``."""
        await _unless_gone(self._queue.put.remote(attempt, rollouts, self._report()))

    def _report(self) -> Report:
        return Report("student", self._student, tuple(self._samples()), time.time())


async def _unless_gone(call: Any) -> Any:  # noqa: ANN401 - Ray's references
    """The result of ``call``. Queue and board restart if they die, so they are gone only after the run is over."""
    try:
        return await call
    except ActorDiedError:
        raise QueueClosedError("the run is over") from None
    except QueueClosedError as closed:
        raise QueueClosedError(str(cause_of(closed))) from None


class StudentActor:
    """Rolls out prompts in a process of its own. The class is undecorated; ``start_actor`` makes it an actor."""

    def __init__(self, config: RunConfig, source: RaySource, place: Place) -> None:
        """``source`` has the service's handles. Handles looked up by name here might belong to a later run."""
        self._config = config
        self._source = source
        self._place = place
        wait_without_spinning()  # torch is not imported yet

    async def run(self) -> str:
        """Work until the run is over. Returns why the run is over."""
        from services.student.roll_out import roll_out

        return await roll_out(self._config, self._source, self._place)


def start_actor(
    config: RunConfig,
    source: RaySource,
    place: Place,
    node: str | None,
    working_dir: str = "",
) -> Any:  # noqa: ANN401 - a Ray handle
    """Start one actor on ``node``, or without ``node`` where Ray finds most room.

    With ``working_dir`` the actor works in the folder that was submitted with the trainer's job. So the file of a
    user's own policy travels to the actor.
    """
    options: dict[str, object] = {
        "num_cpus": reserved_cpus(config.student.num_threads),
        "num_gpus": config.student.num_gpus_per_actor,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False) if node else "SPREAD",
        "max_concurrency": 16,
    }
    if working_dir:
        options["runtime_env"] = {"working_dir": working_dir}
    return ray.remote(StudentActor).options(**options).remote(config, source, place)
