"""``RolloutDraft``: a rollout while it is being written, and its books."""

import time
from dataclasses import dataclass, field, replace

import numpy as np

from adaswitch.distribution import TopK, concatenate
from adaswitch.errors import TeacherProtocolError
from adaswitch.roles import Budget, Chunk, Continuation
from adaswitch.rollout import Costs, Ending, Prompt, Rollout


@dataclass
class RolloutDraft:
    """A rollout while it is being written."""

    prompt: Prompt
    budget: Budget
    token_ids: list[int] = field(default_factory=list)
    divergences: list[float] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    costs: Costs = field(default_factory=Costs)
    _by_teacher: list[bool] = field(default_factory=list)
    _rows: list[TopK] = field(default_factory=list)

    @property
    def num_left(self) -> int:
        """How many tokens the budget leaves."""
        return self.budget.max_new_tokens - len(self.token_ids)

    @property
    def ended(self) -> bool:
        """Whether the completion is over."""
        return self.num_left == 0 or self._stopped

    @property
    def _stopped(self) -> bool:
        return bool(self.token_ids) and self.token_ids[-1] in self.budget.stop_token_ids

    def waiting(self, what: str) -> "_Stopwatch":
        """Adds the seconds spent inside to the field ``what`` of ``costs``."""
        return _Stopwatch(self, what)

    def add_explored(
        self, chunk: Chunk, scores: TopK, new: list[float], thresholds: list[float], crossing: int | None
    ) -> None:
        """Take over the student's tokens before the crossing, and what was seen up to it."""
        num_written = len(chunk.token_ids)
        if not 1 <= num_written <= self.num_left:
            raise ValueError(f"the student was to write 1 to {self.num_left} tokens, it wrote {num_written}")
        if len(scores) != num_written:
            raise ValueError(f"the student wrote {num_written} tokens, from {len(scores)} distributions")
        num_kept = num_written if crossing is None else crossing
        self._add(chunk.token_ids[:num_kept], scores.rows(0, num_kept), by_teacher=False)
        self.divergences += new[: len(thresholds)]
        self.thresholds += thresholds
        self._spend(
            student_tokens=num_written, wasted_tokens=num_written - num_kept, scored_tokens=num_written
        )

    def add_guided(self, continuation: Continuation) -> None:
        """Take over what the teacher wrote, which must end the completion."""
        num_left = self.num_left
        self._add(continuation.token_ids, continuation.distributions, by_teacher=True)
        self._spend(teacher_tokens=len(continuation.token_ids))
        if not self.ended:
            raise TeacherProtocolError(
                f"prompt {self.prompt.id}: the teacher was to write {num_left} tokens or up to a stop token, "
                f"and wrote {len(continuation.token_ids)}"
            )

    def finish(self) -> Rollout:
        """The rollout, once it has ended. Its ``weights_version`` is for the caller to set."""
        return Rollout(
            prompt=self.prompt,
            completion_token_ids=tuple(self.token_ids),
            by_teacher=np.array(self._by_teacher, dtype=np.bool_),
            teacher=concatenate(self._rows),
            divergences=tuple(self.divergences),
            thresholds=tuple(self.thresholds),
            ending=Ending.STOP if self._stopped else Ending.LENGTH,
            weights_version=0,
            costs=self.costs,
        )

    def _add(self, token_ids: list[int], rows: TopK, *, by_teacher: bool) -> None:
        self.token_ids += token_ids
        self._rows.append(rows)
        self._by_teacher += [by_teacher] * len(token_ids)

    def _spend(self, **amounts: float) -> None:
        self.costs = replace(
            self.costs, **{name: getattr(self.costs, name) + amount for name, amount in amounts.items()}
        )


class _Stopwatch:
    def __init__(self, draft: RolloutDraft, what: str) -> None:
        self._draft, self._what, self._started = draft, what, 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._draft._spend(**{self._what: time.perf_counter() - self._started})
