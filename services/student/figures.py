"""The figures of one student for Prometheus: what it has made, and what it and its teacher were busy with."""

import time
from collections.abc import Callable, Iterable
from types import TracebackType

from adaswitch.contract.wire import GenerateRequest, ScoreSequence, SequenceAnswer
from adaswitch.method.rollout import Rollout
from adaswitch.runs.exported import TOKEN_KINDS, Sample
from services.student.teacher_calls import Client


class Busy:
    """The seconds in which anything of one kind was under way: ``with busy: ...``, as often as one likes at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._num_under_way = 0
        self._since_s = 0.0
        self._before_s = 0.0

    def __enter__(self) -> None:
        """One more is under way."""
        if not self._num_under_way:
            self._since_s = self._clock()
        self._num_under_way += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """One less is under way."""
        self._num_under_way -= 1
        if not self._num_under_way:
            self._before_s += self._clock() - self._since_s

    @property
    def seconds(self) -> float:
        """All such seconds up to now."""
        return self._before_s + (self._clock() - self._since_s if self._num_under_way else 0.0)


class StudentFigures:
    """Counts in one student's life. Used on one event loop, and may be read in any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started_s = clock()
        self.writing = Busy(clock)
        """The student's model, at work on text."""
        self.with_teacher = Busy(clock)
        """Requests to the teacher."""
        self.num_in_flight = 0
        """The prompts under way."""
        self.version = 0
        """The version of the weights."""
        self._num_rollouts = 0
        self._tokens = dict.fromkeys(TOKEN_KINDS, 0)

    def made(self, rollouts: Iterable[Rollout]) -> None:
        """Count rollouts."""
        for rollout in rollouts:
            self._num_rollouts += 1
            for kind, name in TOKEN_KINDS.items():
                self._tokens[kind] += getattr(rollout.costs, name)

    def samples(self) -> list[Sample]:
        """All figures, as they are now."""
        busy = {"student": self.writing.seconds, "teacher": self.with_teacher.seconds}
        return [
            Sample("adaswitch_student_seconds_total", self._clock() - self._started_s),
            *(Sample("adaswitch_student_busy_seconds_total", s, {"model": who}) for who, s in busy.items()),
            Sample("adaswitch_student_rollouts_total", self._num_rollouts),
            *(Sample("adaswitch_student_tokens_total", n, {"kind": k}) for k, n in self._tokens.items()),
            Sample("adaswitch_student_prompts_in_flight", self.num_in_flight),
            Sample("adaswitch_student_weights_version", self.version),
        ]


class WatchedClient:
    """A teacher's client whose requests count as ``busy``."""

    def __init__(self, client: Client, busy: Busy) -> None:
        self._client = client
        self._busy = busy

    async def score(self, sequences: list[ScoreSequence], top_k: int) -> list[SequenceAnswer]:
        """See ``Client``."""
        with self._busy:
            return await self._client.score(sequences, top_k)

    async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
        """See ``Client``."""
        with self._busy:
            return await self._client.generate(request)
