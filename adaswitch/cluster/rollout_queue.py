"""The rollout queue: it gives prompts to students, and rollouts to the trainer.

``RolloutQueue`` is a plain class; ``adaswitch.cluster.actors`` makes it a detached, named Ray actor. The queue holds
all its content by value, so nothing is lost with the process that put it there.

- **Admission**: the trainer offers the prompts of a step when its staleness bound allows, and never earlier. So no
  rollout is ever too old to be used.
- **Back-pressure** happens at the lease, before any work is done: leased prompts and held rollouts together never
  exceed ``capacity``. Prompts are leased in their order, so the step that the trainer waits for always fits. An
  evaluation's prompts come first and are not held back, because the trainer takes nothing else until they are written.
- **Lease and put**: if a prompt's rollout does not come in time, or its student has fallen silent, the prompt is
  given to another student. Ids make a repeated call harmless: the first rollout of a prompt is kept, and a second
  rollout of the same prompt is dropped.
- **Abandoned**: a trainer that gives no sign of life for long is taken to be dead, and the run is over.
- **Attempts**: every start of a trainer is an attempt, and begins with an empty queue. Calls of an earlier attempt
  get ``StaleAttemptError``. All calls get it after the queue itself was lost and restarted.
"""

import asyncio
import contextlib
import math
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adaswitch.errors import QueueClosedError, StaleAttemptError
from adaswitch.method.prompt import EVALUATION, Prompt
from adaswitch.runs.exported import Report, Sample


@dataclass(frozen=True)
class Lease:
    """Leased prompts, all of one step, and the attempt that they belong to."""

    attempt: str
    prompts: tuple[Prompt, ...]


@dataclass(frozen=True)
class OpenRun:
    """A run that wants rollouts: the present attempt, and the run's settings as JSON."""

    attempt: str
    settings: str
    working_dir: str = ""
    """Ray's address of the folder that was submitted with the trainer's job; empty if students need no code from it."""

    @property
    def terms(self) -> str:
        """The terms on which students serve the run. If the terms change, the students must be started anew."""
        return f"{self.settings}\n{self.working_dir}" if self.working_dir else self.settings


@dataclass(frozen=True)
class QueueStats:
    """The numbers of waiting and leased prompts, of held rollouts, of duplicate rollouts and of expired leases."""

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
    """See the module's docstring. All methods must run on one event loop. Times are in seconds of ``clock``."""

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
        self._working_dir = ""
        self._closed_because: str | None = None
        self._gone: set[str] = set()
        self._heard_s: dict[str, float] = {}
        self._trainer_heard_s = clock()
        self._life = uuid.uuid4().hex[:8]
        self._reports: dict[str, Report] = {}  # by student
        self._num_offered = 0
        self._num_accepted = 0
        self._num_duplicates = 0
        self._num_expired = 0
        self._clear()

    def _clear(self) -> None:
        self._waiting: dict[int, Prompt] = {}
        self._leased: dict[int, _Leased] = {}
        self._held: dict[int, bytes] = {}

    def _opened(self, attempt: str) -> OpenRun:
        return OpenRun(attempt, self._settings, self._working_dir)

    # The trainer's side

    async def begin(self, attempt: str, settings: str = "", working_dir: str = "") -> None:
        """Start ``attempt`` with an empty queue. Beginning the present attempt again changes nothing.

        ``settings`` are the run's settings as JSON, for students that find the run by its queue alone.
        ``working_dir`` is where these students find a user's own code that the settings name; see ``OpenRun``.
        """
        async with self._changed:
            self._trainer_heard_s = self._clock()
            if attempt != self._attempt:
                self._attempt, self._settings, self._closed_because = attempt, settings, None
                self._working_dir = working_dir
                self._clear()
            self._changed.notify_all()

    async def trainer_heard(self, attempt: str) -> None:
        """Note a sign of life from the trainer, so that the run does not count as abandoned."""
        if attempt == self._attempt:
            self._trainer_heard_s = self._clock()

    async def present_attempt(self) -> str | None:
        """The present attempt; None before the first attempt, and in a queue that was lost and restarted."""
        return self._attempt

    async def offer(self, attempt: str, prompts: Sequence[Prompt]) -> None:
        """Let students lease ``prompts``. Prompts that the queue knows already are left unchanged."""
        async with self._changed:
            self._check(attempt)
            known = self._waiting.keys() | self._leased.keys() | self._held.keys()
            new = {prompt.id: prompt for prompt in prompts if prompt.id not in known}
            self._waiting.update(new)
            self._num_offered += len(new)
            self._changed.notify_all()

    async def take(self, attempt: str, prompt_ids: Sequence[int], wait_s: float) -> list[bytes] | None:
        """The rollouts of ``prompt_ids`` in that order, once all are there; None if they are not after ``wait_s``.

        The rollouts stay in the queue until ``acknowledge``.
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
        """Drop rollouts that were taken and have reached the trainer."""
        async with self._changed:
            self._check(attempt)
            for prompt_id in prompt_ids:
                self._held.pop(prompt_id, None)
            self._changed.notify_all()

    async def close(self, attempt: str, reason: str) -> None:
        """End the run. All later calls raise ``QueueClosedError`` with ``reason``."""
        async with self._changed:
            self._check(attempt)
            self._closed_because = reason
            self._changed.notify_all()

    # The students' side

    async def lease(
        self, student: str, max_prompts: int, wait_s: float, terms: str | None = None
    ) -> Lease | None:
        """Up to ``max_prompts`` prompts, all of the earliest step that has waiting prompts; None after ``wait_s``.

        A student's name is used for one life only: after ``release`` the name gets None. A student that found the run
        by its queue passes the ``terms`` of the ``OpenRun`` that it was made from. If the run has other terms by now,
        ``QueueClosedError`` is raised, because the student must not roll out on other terms.
        """
        deadline_s = self._clock() + wait_s
        async with self._changed:
            while True:
                self._check_open()
                if (
                    terms is not None
                    and self._attempt is not None
                    and terms != self._opened(self._attempt).terms
                ):
                    raise QueueClosedError("the run goes on with other settings")
                if student in self._gone:
                    return None
                self._expire_leases()
                num_prompts = self._num_leasable(max_prompts)
                if num_prompts > 0 and self._attempt is not None:
                    return Lease(self._attempt, self._lease_now(student, num_prompts))
                if not await self._wait_until(deadline_s):
                    return None

    def _num_leasable(self, max_prompts: int) -> int:
        """How many of ``max_prompts`` may be leased now, as far as they are waiting."""
        if not self._waiting:
            return 0
        if self._first_step() == EVALUATION:
            return max_prompts
        return min(max_prompts, self._capacity - len(self._leased) - len(self._held))

    def _first_step(self) -> int:
        return min(prompt.step for prompt in self._waiting.values())

    def _lease_now(self, student: str, num_prompts: int) -> tuple[Prompt, ...]:
        self._heard_s[student] = self._clock()
        step = self._first_step()
        ids = sorted(prompt.id for prompt in self._waiting.values() if prompt.step == step)[:num_prompts]
        prompts = tuple(self._waiting.pop(prompt_id) for prompt_id in ids)
        deadline_s = self._clock() + self._lease_timeout_s
        self._leased.update({prompt.id: _Leased(prompt, student, deadline_s) for prompt in prompts})
        return prompts

    async def put(self, attempt: str, rollouts: dict[int, bytes], report: Report | None = None) -> int:
        """Put rollouts by prompt id, and return how many were new. Repeated and unwanted rollouts are dropped.

        ``report`` has the student's figures, as in ``heard``.
        """
        async with self._changed:
            self._keep(report)
            self._check(attempt)
            wanted = self._waiting.keys() | self._leased.keys()
            new = {prompt_id: blob for prompt_id, blob in rollouts.items() if prompt_id in wanted}
            for prompt_id in new:
                self._waiting.pop(prompt_id, None)
                self._leased.pop(prompt_id, None)
            self._held.update(new)
            self._num_accepted += len(new)
            self._num_duplicates += len(rollouts) - len(new)
            self._changed.notify_all()
            return len(new)

    async def heard(self, student: str, report: Report | None = None) -> None:
        """Note a sign of life from ``student``, so that it keeps its leases. A student that is cut off gives none.

        ``report`` has its figures, which ``reports`` passes on.
        """
        if student not in self._gone:
            self._heard_s[student] = self._clock()
        self._keep(report)

    def _keep(self, report: Report | None) -> None:
        if report is None or report.source in self._gone:
            return
        known = self._reports.get(report.source)
        if known is None or known.made_at <= report.made_at:
            self._reports[report.source] = report

    async def release(self, student: str) -> int:
        """Take back all prompts that ``student`` has leased, because it is gone. Returns how many prompts."""
        async with self._changed:
            # The student's last lease call may still wait here, and must not be given prompts that come in later.
            self._gone.add(student)
            self._heard_s.pop(student, None)
            self._reports.pop(student, None)
            self._changed.notify_all()
            return self._take_back([held for held in self._leased.values() if held.student == student])

    async def fail(self, reason: str) -> None:
        """End the run from a student's side, for a reason that would remain if the student tried again."""
        async with self._changed:
            self._closed_because = reason
            self._changed.notify_all()

    # Anyone's

    async def open_run(self) -> OpenRun | None:
        """The run that the trainer began; None before it begins, and once the run is over."""
        async with self._changed:
            if self._attempt is None or self._why_closed() is not None:
                return None
            return self._opened(self._attempt)

    async def stats(self) -> QueueStats:
        """The present depths, and how often rollouts came twice and leases expired."""
        async with self._changed:
            return QueueStats(
                len(self._waiting),
                len(self._leased),
                len(self._held),
                self._num_duplicates,
                self._num_expired,
            )

    async def reports(self) -> list[Report]:
        """The figures of the queue, and of all students that give signs of life."""
        oldest_s = self._clock() - self._silence_timeout_s
        alive = [student for student, heard_s in self._heard_s.items() if heard_s >= oldest_s]
        students = [self._reports[student] for student in alive if student in self._reports]
        return [Report("queue", self._life, self._samples(len(alive)), time.time()), *students]

    def _samples(self, num_students: int) -> tuple[Sample, ...]:
        return (
            Sample("adaswitch_queue_prompts", len(self._waiting), {"state": "waiting"}),
            Sample("adaswitch_queue_prompts", len(self._leased), {"state": "leased"}),
            Sample("adaswitch_queue_rollouts", len(self._held)),
            Sample("adaswitch_queue_capacity", self._capacity),
            Sample("adaswitch_queue_students", num_students),
            Sample("adaswitch_queue_offered_prompts_total", self._num_offered),
            Sample("adaswitch_queue_accepted_rollouts_total", self._num_accepted),
            Sample("adaswitch_queue_duplicate_rollouts_total", self._num_duplicates),
            Sample("adaswitch_queue_expired_leases_total", self._num_expired),
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
        """The time at which a lease ends. Signs of life from its student move it, up to the lease's deadline."""
        return min(leased.deadline_s, self._heard_s[leased.student] + self._silence_timeout_s)

    def _take_back(self, leases: list[_Leased]) -> int:
        for leased in leases:
            del self._leased[leased.prompt.id]
            self._waiting[leased.prompt.id] = leased.prompt
        if leases:
            self._changed.notify_all()
        return len(leases)

    async def _wait_until(self, deadline_s: float) -> bool:
        """Wait for a change, a lease's end or the deadline; False if the deadline is past."""
        now = self._clock()
        if now >= deadline_s:
            return False
        next_s = min([deadline_s, *(self._end_s(leased) for leased in self._leased.values())])
        with contextlib.suppress(TimeoutError):
            # The wait is above 0 even if a lease is just over, so that other calls always get to run.
            await asyncio.wait_for(self._changed.wait(), max(next_s - now, 0.001))
        return True
