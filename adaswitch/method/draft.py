"""``RolloutDraft``: a rollout while it is being written, with the record of its costs."""

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from adaswitch.errors import TeacherProtocolError
from adaswitch.method.distribution import TopK, concatenate
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget, Chunk, Continuation
from adaswitch.method.rollout import LARGEST_WEIGHT, Candidates, Costs, Ending, Rollout, require_weights

NUM_SHOWN = 5
"""The number of the student's candidates at each token that a rollout keeps for people to look at."""


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
    _student_top: list[Candidates] = field(default_factory=list)
    _recited: bool = False
    _is_cut_short: bool = False
    _teacher_limit: int | None = None
    _token_weights: list[float] | None = None

    @property
    def num_left(self) -> int:
        """The number of tokens that ``max_new_tokens`` still allows."""
        return self.budget.max_new_tokens - len(self.token_ids)

    @property
    def num_left_for_teacher(self) -> int:
        """The number of tokens that the teacher may still write."""
        limits = [
            limit for limit in (self.prompt.max_teacher_tokens, self._teacher_limit) if limit is not None
        ]
        return min([self.num_left, *(limit - self.costs.teacher_tokens for limit in limits)])

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
        over = self.ended or self._recited or self._is_cut_short
        return over or (bool(self.token_ids) and self.num_left_for_teacher == 0)

    @property
    def _stopped(self) -> bool:
        return self.budget.stops(self.token_ids)

    def limit_teacher(self, num_tokens: int) -> None:
        """Let the teacher write no more than ``num_tokens`` in this rollout, beside the limit of the prompt."""
        self._teacher_limit = num_tokens

    def shorten(self, num_tokens: int) -> None:
        """End the completion after ``num_tokens``, if that is sooner than ``max_new_tokens``."""
        self.budget = replace(self.budget, max_new_tokens=min(num_tokens, self.budget.max_new_tokens))

    def cut_short(self) -> None:
        """End the rollout here, with the ending ``budget``. Raises ``ValueError`` for a completion without tokens."""
        if not self.token_ids:
            raise ValueError(f"prompt {self.prompt.id}: there is nothing to cut short, no token was written")
        self._is_cut_short = True

    def waiting(self, what: str) -> "_Stopwatch":
        """A context manager that adds the seconds spent inside to the field ``what`` of ``costs``."""
        return _Stopwatch(self, what)

    def add_explored(
        self,
        chunk: Chunk,
        scores: TopK,
        own: Tensor,
        new: list[float],
        thresholds: list[float],
        crossing: int | None,
    ) -> None:
        """Add the student's tokens before the crossing, and the divergences up to and including the crossing.

        ``own [n, k + 1]`` are the student's log-probabilities of the outcomes of ``scores``. After the first token
        without a divergence, the divergences of later tokens are left out.
        """
        num_written = len(chunk.token_ids)
        if not 1 <= num_written <= self.num_left:
            raise ValueError(f"the student was to write 1 to {self.num_left} tokens, it wrote {num_written}")
        num_kept = num_written if crossing is None else crossing
        if len(self.divergences) == len(self.token_ids):
            self.divergences += new[: len(thresholds)]
            self.thresholds += thresholds
            self._student_top.append(most_likely(scores.ids, own, len(thresholds)))
        self._add(chunk.token_ids[:num_kept], scores.rows(0, num_kept), by_teacher=False)
        self._spend(
            student_tokens=num_written, wasted_tokens=num_written - num_kept, scored_tokens=num_written
        )

    def cut_back(self, num_tokens: int) -> None:
        """Throw away the last ``num_tokens``, which the student wrote and the teacher has scored.

        Of the divergences, that at the first of them stays, as the one at the switch. Raises ``ValueError`` if any of
        the tokens is not the student's.
        """
        place = len(self.token_ids) - num_tokens
        if not 0 <= place <= len(self.token_ids) or any(self._by_teacher[place:]):
            raise ValueError(
                f"prompt {self.prompt.id}: the last {num_tokens} tokens are not all the student's"
            )
        if num_tokens == 0:
            return
        rows = concatenate(self._rows)
        self._rows = [rows.rows(0, place)]
        del self.token_ids[place:], self._by_teacher[place:]
        if len(self.divergences) > place:
            del self.divergences[place + 1 :], self.thresholds[place + 1 :]
            self._student_top = _first(self._student_top, place + 1)
            self.thresholds[place] = -math.inf
        if self._token_weights is not None:
            del self._token_weights[place:]
        self._spend(wasted_tokens=num_tokens)

    def add_unused(self, num_written: int) -> None:
        """Count tokens that the student wrote ahead, and that were thrown away before anybody looked at them."""
        self._spend(student_tokens=num_written, wasted_tokens=num_written)

    def add_looked(self) -> None:
        """Count a token that the student wrote, and the teacher scored, for its divergence alone."""
        self._spend(student_tokens=1, wasted_tokens=1, scored_tokens=1)

    def add_guided(
        self, continuation: Continuation, num_tokens: int, end_token_ids: Collection[int] = ()
    ) -> None:
        """Add the tokens that the teacher wrote: ``num_tokens``, or fewer up to a stop token or a leg's end."""
        num_written = len(continuation.token_ids)
        self._add(continuation.token_ids, continuation.distributions, by_teacher=True)
        self._spend(teacher_tokens=num_written)
        is_over = num_written > 0 and (self._stopped or self.token_ids[-1] in end_token_ids)
        if num_written > num_tokens or (num_written < num_tokens and not is_over):
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
            student_top=_joined(self._student_top),
        )

    @property
    def _ending(self) -> Ending:
        if self._stopped:
            return Ending.STOP
        spent = self.num_left > 0 and (self._is_cut_short or self.num_left_for_teacher == 0)
        return Ending.BUDGET if spent else Ending.LENGTH

    def _add(self, token_ids: Sequence[int], rows: TopK, *, by_teacher: bool) -> None:
        self.token_ids += token_ids
        self._rows.append(rows)
        self._by_teacher += [by_teacher] * len(token_ids)

    def _spend(self, **amounts: float) -> None:
        self.costs = replace(
            self.costs, **{name: getattr(self.costs, name) + amount for name, amount in amounts.items()}
        )


def most_likely(ids: Tensor, own: Tensor, num_rows: int) -> Candidates:
    """The most likely of the tokens ``ids [n, k]`` in the first rows of ``own [n, k + 1]``, whose last is the tail."""
    num_candidates = ids.shape[1]
    top = own[:num_rows, :num_candidates].topk(min(NUM_SHOWN, num_candidates), dim=-1)
    found = ids[:num_rows].to(top.indices.device).gather(-1, top.indices)
    return Candidates(found.int().cpu().numpy(), top.values.float().cpu().numpy())


def _joined(parts: Sequence[Candidates]) -> Candidates | None:
    if not parts:
        return None
    ids, logprobs = [part.ids for part in parts], [part.logprobs for part in parts]
    return Candidates(np.concatenate(ids), np.concatenate(logprobs))


def _first(parts: Sequence[Candidates], num_rows: int) -> list[Candidates]:
    """The first rows of all ``parts`` together."""
    whole = _joined(parts)
    return [] if whole is None else [Candidates(whole.ids[:num_rows], whole.logprobs[:num_rows])]


class _Stopwatch:
    def __init__(self, draft: RolloutDraft, what: str) -> None:
        self._draft, self._what, self._started = draft, what, 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._draft._spend(**{self._what: time.perf_counter() - self._started})
