"""The rollout queue: prompts out to students, rollouts in to the trainer.

``RolloutQueue`` is a plain class; ``adaswitch.cluster.actors`` makes it a detached, named Ray actor. What it holds, it
holds by value: nothing is lost with the process that put it there.

- **Admission**: the trainer offers a step's prompts when its staleness bound allows, never earlier, so that no
  rollout is ever too old to be used.
- **Back-pressure** is at the lease, before any work is done: prompts leased and rollouts held never exceed
  ``capacity``. As prompts are leased in their order, the step that the trainer waits for always fits.
- **Lease and put**: a prompt whose rollout does not come in time, or whose student has fallen silent, is given to
  somebody else. Ids make a repeated call harmless: the first rollout of a prompt is kept, a second one dropped.
- **Abandoned**: a trainer that gives no sign of life for long is taken for dead, and the run is over.
- **Attempts**: every start of a trainer is one, and begins with an empty queue. Calls of an earlier attempt
  get ``StaleAttemptError``, and so does everybody after the queue itself was lost and restarted.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adaswitch.errors import QueueClosedError, StaleAttemptError
from adaswitch.method.prompt import Prompt


@dataclass(frozen=True)
class Lease:
    """Prompts of one step, to be rolled out by ``deadline``, in the attempt that they belong to."""

    attempt: str
    prompts: tuple[Prompt, ...]


@dataclass(frozen=True)
class OpenRun:
    """A run that rollouts are wanted for: the present attempt, and the run's settings as JSON."""

    attempt: str
    settings: str


@dataclass(frozen=True)
class QueueStats:
    """How many prompts wait, are leased, and how many rollouts are held."""

    num_waiting: int
    num_leased: int
    num_held: int
    num_duplicates: int
    num_expired: int


@dataclass(frozen=True)
class _Leased:
    prompt: Prompt
    student: str
    deadline_s: float


class RolloutQueue:
    """See the module's docstring. All methods are for one event loop; times are in seconds of ``clock``."""

    def __init__(
        self,
        capacity: int,
        lease_timeout_s: float,
        silence_timeout_s: float = math.inf,
        trainer_timeout_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity = capacity
        self._lease_timeout_s = lease_timeout_s
        self._silence_timeout_s = silence_timeout_s
        self._trainer_timeout_s = trainer_timeout_s
        self._clock = clock
        self._changed = asyncio.Condition()
        self._attempt: str | None = None
        self._settings = ""
        self._closed_because: str | None = None
        self._gone: set[str] = set()
        self._heard_s: dict[str, float] = {}
        self._trainer_heard_s = clock()
        self._num_duplicates = 0
        self._num_expired = 0
        self._clear()

    def _clear(self) -> None:
        self._waiting: dict[int, Prompt] = {}
        self._leased: dict[int, _Leased] = {}
        self._held: dict[int, bytes] = {}

    # The trainer's side

    async def begin(self, attempt: str, settings: str = "") -> None:
        """Start ``attempt`` with an empty queue. Beginning the present one again changes nothing.

        ``settings`` are the run's, as JSON, for students that find it by its queue alone.
        """
        async with self._changed:
            self._trainer_heard_s = self._clock()
            if attempt != self._attempt:
                self._attempt, self._settings, self._closed_because = attempt, settings, None
                self._clear()
            self._changed.notify_all()

    async def trainer_heard(self, attempt: str) -> None:
        """A sign of life: the run is not abandoned."""
        if attempt == self._attempt:
            self._trainer_heard_s = self._clock()

    async def present_attempt(self) -> str | None:
        """None before the first, and in a queue that was lost and restarted."""
        return self._attempt

    async def offer(self, attempt: str, prompts: Sequence[Prompt]) -> None:
        """Let students have ``prompts``. Those that are known already are left as they are."""
        async with self._changed:
            self._check(attempt)
            known = self._waiting.keys() | self._leased.keys() | self._held.keys()
            self._waiting.update({prompt.id: prompt for prompt in prompts if prompt.id not in known})
            self._changed.notify_all()

    async def take(self, attempt: str, prompt_ids: Sequence[int], wait_s: float) -> list[bytes] | None:
        """The rollouts of ``prompt_ids`` in that order, once all are there; None if ``wait_s`` was too short.

        They stay in the queue until ``acknowledge``.
        """
        deadline_s = self._clock() + wait_s
        async with self._changed:
            while True:
                self._check(attempt)
                self._expire_leases()
                if all(prompt_id in self._held for prompt_id in prompt_ids):
                    return [self._held[prompt_id] for prompt_id in prompt_ids]
                if not await self._wait_until(deadline_s):
                    return None

    async def acknowledge(self, attempt: str, prompt_ids: Sequence[int]) -> None:
        """Forget rollouts that were taken and are safe with the trainer."""
        async with self._changed:
            self._check(attempt)
            for prompt_id in prompt_ids:
                self._held.pop(prompt_id, None)
            self._changed.notify_all()

    async def close(self, attempt: str, reason: str) -> None:
        """End the run: whoever asks from now on gets ``QueueClosedError`` with ``reason``."""
        async with self._changed:
            self._check(attempt)
            self._closed_because = reason
            self._changed.notify_all()

    # The students' side

    async def lease(
        self, student: str, max_prompts: int, wait_s: float, settings: str | None = None
    ) -> Lease | None:
        """Up to ``max_prompts`` prompts, all of the earliest step that has any; None after ``wait_s``.

        A name stands for one student's life: after ``release`` it gets None. ``settings`` are those that the
        student was made by, if it had them from here: by other ones it must not roll out (``QueueClosedError``).
        """
        deadline_s = self._clock() + wait_s
        async with self._changed:
            while True:
                self._check_open()
                if settings is not None and self._attempt is not None and settings != self._settings:
                    raise QueueClosedError("the run goes on with other settings")
                if student in self._gone:
                    return None
                self._expire_leases()
                room = self._capacity - len(self._leased) - len(self._held)
                if self._waiting and room > 0 and self._attempt is not None:
                    return Lease(self._attempt, self._lease_now(student, min(max_prompts, room)))
                if not await self._wait_until(deadline_s):
                    return None

    def _lease_now(self, student: str, num_prompts: int) -> tuple[Prompt, ...]:
        self._heard_s[student] = self._clock()
        step = min(prompt.step for prompt in self._waiting.values())
        ids = sorted(prompt.id for prompt in self._waiting.values() if prompt.step == step)[:num_prompts]
        prompts = tuple(self._waiting.pop(prompt_id) for prompt_id in ids)
        deadline_s = self._clock() + self._lease_timeout_s
        self._leased.update({prompt.id: _Leased(prompt, student, deadline_s) for prompt in prompts})
        return prompts

    async def put(self, attempt: str, rollouts: dict[int, bytes]) -> int:
        """Hand in rollouts by prompt id; how many were new. Others are dropped: repeats, or no longer wanted."""
        async with self._changed:
            self._check(attempt)
            wanted = self._waiting.keys() | self._leased.keys()
            new = {prompt_id: blob for prompt_id, blob in rollouts.items() if prompt_id in wanted}
            for prompt_id in new:
                self._waiting.pop(prompt_id, None)
                self._leased.pop(prompt_id, None)
            self._held.update(new)
            self._num_duplicates += len(rollouts) - len(new)
            self._changed.notify_all()
            return len(new)

    async def heard(self, student: str) -> None:
        """A sign of life: what ``student`` has leased stays its own. One that is cut off gives none."""
        self._heard_s[student] = self._clock()

    async def release(self, student: str) -> int:
        """Take back everything that ``student`` has leased, as it is gone; how many prompts that was."""
        async with self._changed:
            # Its last call may still wait here, and must not be given what comes in later.
            self._gone.add(student)
            self._heard_s.pop(student, None)
            self._changed.notify_all()
            return self._take_back([held for held in self._leased.values() if held.student == student])

    async def fail(self, reason: str) -> None:
        """End the run from a student's side, for a reason that trying again would not mend."""
        async with self._changed:
            self._closed_because = reason
            self._changed.notify_all()

    # Anyone's

    async def open_run(self) -> OpenRun | None:
        """What the trainer began; None before that, and once the run is over."""
        async with self._changed:
            if self._attempt is None or self._why_closed() is not None:
                return None
            return OpenRun(self._attempt, self._settings)

    async def stats(self) -> QueueStats:
        """Present depths, and how often something came twice or too late."""
        async with self._changed:
            return QueueStats(
                len(self._waiting),
                len(self._leased),
                len(self._held),
                self._num_duplicates,
                self._num_expired,
            )

    def _check(self, attempt: str) -> None:
        if attempt != self._attempt:
            raise StaleAttemptError(f"attempt {attempt} is over; the queue's is {self._attempt}")
        self._check_open()

    def _check_open(self) -> None:
        reason = self._why_closed()
        if reason is not None:
            raise QueueClosedError(reason)

    def _why_closed(self) -> str | None:
        silent_s = self._clock() - self._trainer_heard_s
        if self._attempt is not None and self._closed_because is None and silent_s > self._trainer_timeout_s:
            self._closed_because = f"the trainer has given no sign of life for {silent_s:.0f} s"
        return self._closed_because

    def _expire_leases(self) -> None:
        now = self._clock()
        expired = [leased for leased in self._leased.values() if self._end_s(leased) <= now]
        self._num_expired += self._take_back(expired)

    def _end_s(self, leased: _Leased) -> float:
        """When a lease is over, unless its student is heard of until then."""
        return min(leased.deadline_s, self._heard_s[leased.student] + self._silence_timeout_s)

    def _take_back(self, leases: list[_Leased]) -> int:
        for leased in leases:
            del self._leased[leased.prompt.id]
            self._waiting[leased.prompt.id] = leased.prompt
        if leases:
            self._changed.notify_all()
        return len(leases)

    async def _wait_until(self, deadline_s: float) -> bool:
        """Wait for a change, a lease's end or the deadline; False if it is past."""
        now = self._clock()
        if now >= deadline_s:
            return False
        next_s = min([deadline_s, *(self._end_s(leased) for leased in self._leased.values())])
        with contextlib.suppress(TimeoutError):
            # Above 0 even for a lease that is just over, so that this always lets others run.
            await asyncio.wait_for(self._changed.wait(), max(next_s - now, 0.001))
        return True
