"""``RolloutDraft``: a rollout while it is being written, with the record of its costs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from adaswitch.errors import TeacherProtocolError
from adaswitch.method.distribution import TopK, concatenate
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget, Chunk, Continuation
from adaswitch.method.rollout import LARGEST_WEIGHT, Costs, Ending, Rollout, require_weights


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
    _recited: bool = False
    _token_weights: list[float] | None = None

    @property
    def num_left(self) -> int:
        """The number of tokens that ``max_new_tokens`` still allows."""
        return self.budget.max_new_tokens - len(self.token_ids)

    @property
    def num_left_for_teacher(self) -> int:
        """The number of tokens that the teacher may still write."""
        if self.prompt.max_teacher_tokens is None:
            return self.num_left
        return min(self.num_left, self.prompt.max_teacher_tokens - self.costs.teacher_tokens)

    @property
    def ended(self) -> bool:
        """Whether the completion is over."""
        return self.budget.ends(self.token_ids)

    @property
    def num_recorded(self) -> int:
        """The number of tokens whose writer is on record, which is that of ``token_ids``."""
        return len(self._by_teacher)

    @property
    def complete(self) -> bool:
        """Whether the rollout can be finished: it has ended, was recited, or was cut short by the teacher's budget."""
        return self.ended or self._recited or (bool(self.token_ids) and self.num_left_for_teacher == 0)

    @property
    def _stopped(self) -> bool:
        return self.budget.stops(self.token_ids)

    def waiting(self, what: str) -> "_Stopwatch":
        """A context manager that adds the seconds spent inside to the field ``what`` of ``costs``."""
        return _Stopwatch(self, what)

    def add_explored(
        self, chunk: Chunk, scores: TopK, new: list[float], thresholds: list[float], crossing: int | None
    ) -> None:
        """Add the student's tokens before the crossing, and the divergences up to and including the crossing.

        After the first token without a divergence, the divergences of later tokens are left out.
        """
        num_written = len(chunk.token_ids)
        if not 1 <= num_written <= self.num_left:
            raise ValueError(f"the student was to write 1 to {self.num_left} tokens, it wrote {num_written}")
        num_kept = num_written if crossing is None else crossing
        if len(self.divergences) == len(self.token_ids):
            self.divergences += new[: len(thresholds)]
            self.thresholds += thresholds
        self._add(chunk.token_ids[:num_kept], scores.rows(0, num_kept), by_teacher=False)
        self._spend(
            student_tokens=num_written, wasted_tokens=num_written - num_kept, scored_tokens=num_written
        )

    def add_unused(self, num_written: int) -> None:
        """Count tokens that the student wrote ahead, and that were thrown away before anybody looked at them."""
        self._spend(student_tokens=num_written, wasted_tokens=num_written)

    def add_guided(self, continuation: Continuation, num_tokens: int) -> None:
        """Add the tokens that the teacher wrote: ``num_tokens``, or fewer up to a stop token."""
        num_written = len(continuation.token_ids)
        self._add(continuation.token_ids, continuation.distributions, by_teacher=True)
        self._spend(teacher_tokens=num_written)
        if num_written > num_tokens or (num_written < num_tokens and not (num_written and self._stopped)):
            raise TeacherProtocolError(
                f"prompt {self.prompt.id}: the teacher was to write {num_tokens} tokens or up to a stop token, "
                f"and wrote {num_written}"
            )

    def add_reference(self, token_ids: Sequence[int], scores: TopK) -> None:
        """Add the data set's tokens, which the teacher has scored."""
        if len(scores) != len(token_ids):
            raise TeacherProtocolError(
                f"prompt {self.prompt.id}: {len(token_ids)} tokens were to be scored, the teacher gave "
                f"{len(scores)} rows"
            )
        self._add(token_ids, scores, by_teacher=True)
        self._recited = True
        self._spend(scored_tokens=len(token_ids))

    def weigh(self, weights: Sequence[float]) -> None:
        """Say what each token so far counts in the loss. Tokens that are added later count 1.

        Raises ``ValueError`` unless there is one number for each token: 0, or from 0.001 to 1000.
        """
        given = np.asarray(weights, dtype=np.float64)
        require_weights(given, self.num_recorded, "the tokens' weights", LARGEST_WEIGHT)
        self._token_weights = given.tolist()

    @property
    def _weights(self) -> NDArray[np.float64] | None:
        if self._token_weights is None:
            return None
        return np.array(self._token_weights + [1.0] * (self.num_recorded - len(self._token_weights)))

    def finish(self) -> Rollout:
        """The rollout, once it is complete. The caller must set its ``weights_version``."""
        return Rollout(
            prompt=self.prompt,
            completion_token_ids=tuple(self.token_ids),
            by_teacher=np.array(self._by_teacher, dtype=np.bool_),
            teacher=concatenate(self._rows),
            divergences=tuple(self.divergences),
            thresholds=tuple(self.thresholds),
            ending=self._ending,
            weights_version=0,
            costs=self.costs,
            token_weights=self._weights,
        )

    @property
    def _ending(self) -> Ending:
        if self._stopped:
            return Ending.STOP
        spent = self.num_left > 0 and self.num_left_for_teacher == 0
        return Ending.BUDGET if spent else Ending.LENGTH

    def _add(self, token_ids: Sequence[int], rows: TopK, *, by_teacher: bool) -> None:
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
