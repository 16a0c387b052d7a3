"""The source of rollouts and the destination of weights: a Protocol for the loop, and the Ray queue and board."""

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import ray
import torch
from torch import Tensor

from adaswitch.cluster import actors
from adaswitch.cluster.weight_arrays import WeightPieces
from adaswitch.cluster.weight_board import PublishedWeights
from adaswitch.config.run import RunConfig
from adaswitch.contract.completion_codec import Unaided, decode_completion
from adaswitch.contract.rollout_codec import decode_rollouts
from adaswitch.errors import QueueClosedError, QueueError, StaleAttemptError
from adaswitch.method.prompt import Prompt
from adaswitch.method.rollout import Rollout

T = TypeVar("T")
POLL_S = 1.0
"""The number of seconds after which a wait for rollouts checks again whether it should end."""
SIGN_EVERY_S = 5.0
SAY_EVERY_S = 30.0
"""The number of seconds between two printed lines about the wait for rollouts."""


class RolloutSource(Protocol):
    """The students' side, as the training loop needs it."""

    def publish(self, version: int, weights: Mapping[str, Tensor]) -> None:
        """Make the weights after ``version`` updates available to students."""

    def offer(self, prompts: Sequence[Prompt]) -> None:
        """Let students roll out ``prompts``."""

    def take(self, prompts: Sequence[Prompt], should_stop: Callable[[], bool]) -> list[Rollout] | None:
        """The rollouts of ``prompts``, in their order; None if ``should_stop`` ended the wait."""

    @property
    def version(self) -> int:
        """The version of the weights that were published last."""

    def take_unaided(
        self, prompts: Sequence[Prompt], should_stop: Callable[[], bool]
    ) -> list[Unaided] | None:
        """As ``take``, for prompts that are ``greedy``: the completions that the student wrote by itself."""

    def depth(self) -> int:
        """The number of rollouts that are ready and not taken yet."""

    def close(self, reason: str) -> None:
        """Tell the students that the run is over."""


class _SignsOfLife:
    """Calls ``give`` every few seconds in a thread of its own, even while the trainer is busy."""

    def __init__(self, give: Callable[[], object]) -> None:
        self._stopped = threading.Event()
        self._give = give
        threading.Thread(target=self._work, name="signs-of-life", daemon=True).start()

    def _work(self) -> None:
        while not self._stopped.wait(SIGN_EVERY_S):
            self._give()

    def stop(self) -> None:
        """Give no more signs of life."""
        self._stopped.set()


class RaySource:
    """The queue and the weight board of a run, used by one attempt at the run.

    Both may be lost and restarted at any time; then prompts are offered and weights are published again. A rollout
    depends on the seed, the prompt's id and the weights alone, so making it twice changes nothing.
    """

    def __init__(
        self,
        queue: Any,  # noqa: ANN401 - Ray handles
        board: Any,  # noqa: ANN401
        config: RunConfig,
        working_dir: str = "",
    ) -> None:
        """``working_dir`` is where students find a user's own policy; see ``RolloutQueue.begin``."""
        self._queue = queue
        self._board = board
        self._config = config
        self._timeout_s = config.trainer.rollout_timeout_s
        self._attempt = uuid.uuid4().hex
        self._working_dir = working_dir
        self._offered: dict[int, Prompt] = {}
        # Adapters are little, and students round once they have merged them.
        dtype = "float32" if config.trainer.lora is not None else config.student.dtype
        self._pieces = WeightPieces(getattr(torch, dtype))
        self._published: PublishedWeights | None = None
        self._begin()
        heard = self._queue.trainer_heard.options(max_task_retries=0)  # a lost sign of life does not matter
        self._signs = _SignsOfLife(lambda: heard.remote(self._attempt))

    def _begin(self) -> None:
        settings = self._config.model_dump_json()
        ray.get(self._queue.begin.remote(self._attempt, settings, self._working_dir))

    def publish(self, version: int, weights: Mapping[str, Tensor]) -> None:
        """See ``RolloutSource``. The weights travel in the number type that the students use.

        They belong to this process: Ray's object store drops them when it ends. After the next call the store drops
        them as soon as no student reads them any more.
        """
        stored = [ray.put(piece) for piece in self._pieces.of(weights)]
        self._published = PublishedWeights(self._attempt, version, stored)
        self._publish_again()

    @property
    def version(self) -> int:
        """See ``RolloutSource``."""
        return 0 if self._published is None else self._published.version

    def _publish_again(self) -> None:
        if self._published is not None:
            ray.get(self._board.publish.remote(self._published))

    def offer(self, prompts: Sequence[Prompt]) -> None:
        """See ``RolloutSource``."""
        self._offered.update({prompt.id: prompt for prompt in prompts})
        try:
            ray.get(self._queue.offer.remote(self._attempt, list(prompts)))
        except StaleAttemptError:
            self._offer_again()

    def _offer_again(self) -> None:
        if ray.get(self._queue.present_attempt.remote()) not in (None, self._attempt):
            raise QueueError("another trainer has taken this run over: a run directory has room for one")
        self._begin()
        ray.get(self._queue.offer.remote(self._attempt, list(self._offered.values())))

    def take(self, prompts: Sequence[Prompt], should_stop: Callable[[], bool]) -> list[Rollout] | None:
        """See ``RolloutSource``. Raises ``QueueError`` after ``trainer.rollout_timeout_s``."""
        parts = self._take(prompts, should_stop, decode_rollouts)
        return None if parts is None else [rollout for part in parts for rollout in part]

    def take_unaided(
        self, prompts: Sequence[Prompt], should_stop: Callable[[], bool]
    ) -> list[Unaided] | None:
        """See ``RolloutSource``. Raises ``QueueError`` after ``trainer.rollout_timeout_s``."""
        return self._take(prompts, should_stop, decode_completion)

    def _take(
        self, prompts: Sequence[Prompt], should_stop: Callable[[], bool], decode: Callable[[bytes], T]
    ) -> list[T] | None:
        """What students made of ``prompts``, once all is there; None if ``should_stop`` ended the wait."""
        ids = [prompt.id for prompt in prompts]
        started_s = said_s = time.monotonic()
        while not should_stop():
            blobs = self._poll(ids, should_stop)
            if blobs is not None:
                made = [decode(blob) for blob in blobs]
                self._acknowledge(ids)
                return made
            now_s = time.monotonic()
            if now_s - started_s > self._timeout_s:
                raise QueueError(
                    f"no complete step of rollouts within {self._timeout_s:g} s: are students running "
                    "(python -m services.student --config ...), and does the teacher answer?"
                )
            if now_s - said_s > SAY_EVERY_S:
                said_s = now_s
                print(f"waiting for rollouts for {now_s - started_s:.0f} s: {self._describe()}", flush=True)
        return None

    def _acknowledge(self, ids: list[int]) -> None:
        ray.get(self._queue.acknowledge.remote(self._attempt, ids))
        for prompt_id in ids:
            del self._offered[prompt_id]

    def _describe(self) -> str:
        stats = ray.get(self._queue.stats.remote())
        return (
            f"{stats.num_waiting} prompts wait for a student, {stats.num_leased} are with one, "
            f"{stats.num_held} are done"
        )

    def _poll(self, ids: list[int], should_stop: Callable[[], bool]) -> list[bytes] | None:
        """The rollouts of ``ids`` if all are there; None if not, or if ``should_stop`` ended the wait for an answer."""
        try:
            call = self._queue.take.remote(self._attempt, ids, POLL_S)
            # If Ray itself is lost, no answer comes for a minute, and then Ray ends this process without a word.
            while not ray.wait([call], timeout=POLL_S)[0]:
                if should_stop():
                    return None
            blobs: list[bytes] | None = ray.get(call)
        except StaleAttemptError:
            self._offer_again()
            return None
        if blobs is None and ray.get(self._board.version.remote(self._attempt)) is None:
            self._publish_again()
        return blobs

    def depth(self) -> int:
        """See ``RolloutSource``."""
        return int(ray.get(self._queue.stats.remote()).num_held)

    def close(self, reason: str) -> None:
        """See ``RolloutSource``. Queue and board are removed, so the next attempt begins with an empty pair.

        If another trainer has taken over the run, queue and board belong to that trainer and stay.
        """
        self._signs.stop()
        try:
            ray.get(self._queue.close.remote(self._attempt, reason))
        except StaleAttemptError:
            return
        except QueueClosedError:
            pass
        # Once this call is answered, all students that waited at the queue have been told.
        ray.get(self._queue.stats.remote())
        actors.remove_actors(self._config)
