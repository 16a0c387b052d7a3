"""Rollouts as a page shows them: the text of each token, who wrote it, what was compared there."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adaswitch.errors import DataError
from adaswitch.method.rollout import Rollout
from adaswitch.pages.curves import short
from adaswitch.pages.embedding import embedded
from adaswitch.pages.pieces import Texts
from adaswitch.pages.reading import Problems
from adaswitch.pages.sampling import choices
from adaswitch.runs.answers import Answer
from adaswitch.runs.shards import read_records_of_shard, read_shard

TOP = 5
"""The number of candidates that are shown at each token."""
AT_ONCE = 16
"""The number of a shard's rollouts that are looked at once it has been read."""
HUNDREDTHS = 10_000
"""Probabilities are written in hundredths of a percent."""
CUT_OFF = -1
"""Stands for a threshold of minus infinity: a switch without a threshold."""

Content = dict[str, object]


class Gallery:
    """Rollouts of one run, and the names of all tokens that they show."""

    def __init__(self, texts: Texts, answer_of: Callable[[Rollout], Answer] | None) -> None:
        """``answer_of`` marks a rollout; None if none can be marked."""
        self._texts = texts
        self._answer_of = answer_of
        # A page that follows a run comes back to the same shards again and again. A changed shard has another stamp.
        self._records = lru_cache(maxsize=None)(lambda shard, stamp: read_records_of_shard(shard))
        self._shown: dict[tuple[Path, int], list[tuple[Content, int] | None]] = {}
        self._rollouts = lru_cache(maxsize=2)(lambda shard, stamp: read_shard(shard))
        self.names: dict[int, str] = {}
        """The names of the tokens among the candidates so far, by their ids."""

    def collect(self, shards: Mapping[int, Path], budget: int, problems: Problems) -> Content:
        """As many rollouts of ``shards``, which are given by step, as take ``budget`` bytes."""
        records = {step: self.records_of(shard, problems) for step, shard in shards.items()}
        known = {step: found for step, found in records.items() if found}
        wanted = self._within(choices(known), shards, budget, problems)
        return {
            "rollouts": [content for _, content in sorted(wanted, key=lambda each: each[0])],
            "tokens": self.named([content for _, content in wanted]),
            "shown": len(wanted),
            "kept": sum(map(len, known.values())),
            "steps": len(known),
            "top": TOP,
        }

    def _within(
        self, order: Sequence[tuple[int, int]], shards: Mapping[int, Path], budget: int, problems: Problems
    ) -> list[tuple[tuple[int, int], Content]]:
        found: list[tuple[tuple[int, int], Content]] = []
        left = budget
        later: dict[int, list[int]] = {}
        for step, index in order:
            later.setdefault(step, []).append(index)
        for step, index in order:
            shown = problems.without(lambda s=step, i=index: self.shown(shards[s], i, later[s]), None)  # type: ignore[misc]
            if shown is None:
                continue
            content, size = shown
            left -= size
            if left < 0:
                break
            found.append(((step, index), content))
        return found

    def records_of(self, shard: Path, problems: Problems) -> Sequence[int]:
        """The number of each rollout's example in its data set; empty if the shard cannot be read."""
        try:
            return self._records(shard, shard.stat().st_mtime_ns)
        except FileNotFoundError:  # The run keeps the newest shards only, and has just dropped this one.
            return ()
        except DataError as error:
            problems.add(str(error))
            return ()

    def shown(self, shard: Path, index: int, wanted: Sequence[int]) -> tuple[Content, int] | None:
        """The content of a rollout and its size in bytes; None if its shard has gone since.

        ``wanted`` are the indices in this shard in the order in which they are asked for. The next ones are looked at
        as well, because it takes longer to read a shard than to look at a rollout. Raises ``DataError``.
        """
        try:
            stamp = shard.stat().st_mtime_ns
            rollouts = self._shown.get((shard, stamp))
            if rollouts is None:
                rollouts = self._shown[shard, stamp] = [None] * len(self._records(shard, stamp))
            if rollouts[index] is None:
                place = wanted.index(index)
                found = self._rollouts(shard, stamp)
                rollouts[index] = self._looked_at(found[index], shard)
                for number in wanted[place + 1 : place + AT_ONCE]:
                    with contextlib.suppress(DataError):  # Said once it is asked for.
                        rollouts[number] = self._looked_at(found[number], shard)
            return rollouts[index]
        except FileNotFoundError:
            return None

    def _looked_at(self, rollout: Rollout, shard: Path) -> tuple[Content, int]:
        if min((*rollout.prompt.token_ids, *rollout.completion_token_ids), default=0) < 0:
            raise DataError("a token has an id below 0: the shard is damaged", source=str(shard))
        content = self._content(rollout)
        return content, len(embedded(content).encode())

    def _content(self, rollout: Rollout) -> Content:
        answer = None if self._answer_of is None else self._answer_of(rollout)
        ids, probabilities = _top(rollout)
        own = _own(rollout)
        for token_id in {*ids, *rollout.completion_token_ids, *own.get("own_top", ())}:
            self.names.setdefault(token_id, self._texts.name(token_id))
        return {
            "id": rollout.prompt.id,
            "record": rollout.prompt.record,
            "step": rollout.prompt.step,
            "ending": rollout.ending.value,
            "weights": rollout.weights_version,
            "switch": rollout.switch_position,
            "right": None if answer is None else answer.is_right,
            "answer": "" if answer is None else answer.words,
            "reference": "" if answer is None else answer.reference,
            "prompt": "".join(self._texts.pieces(rollout.prompt.token_ids)),
            "pieces": self._texts.pieces(rollout.completion_token_ids),
            "ids": list(rollout.completion_token_ids),
            "by": "".join("1" if by_teacher else "0" for by_teacher in rollout.by_teacher.tolist()),
            "divergences": [short(value) for value in rollout.divergences],
            "thresholds": [_finite(value) for value in rollout.thresholds],
            "top": ids,
            "chances": probabilities,
            **own,
        }

    def named(self, contents: Sequence[Content]) -> dict[int, str]:
        """The names of the tokens in ``contents`` that have no text of their own there."""
        used: set[int] = set()
        for content in contents:
            used.update(content["top"], content["ids"], content.get("own_top", ()))  # type: ignore[arg-type]
        return {token_id: self.names[token_id] for token_id in sorted(used)}


def _top(rollout: Rollout) -> tuple[list[int], list[int]]:
    """The teacher's most likely tokens, ``TOP`` or fewer for each token in a row, and their probabilities."""
    num = min(TOP, rollout.teacher.k)
    ids = rollout.teacher.ids[:, :num].flatten().tolist()
    return ids, _chances(rollout.teacher.logprobs[:, :num].numpy())


def _own(rollout: Rollout) -> dict[str, list[int]]:
    """The same of the student, at each divergence, where it is on record."""
    top = rollout.student_top
    if top is None:
        return {}
    return {"own_top": top.ids.flatten().tolist(), "own_chances": _chances(top.logprobs)}


def _chances(logprobs: NDArray[np.float32]) -> list[int]:
    """Log-probabilities as hundredths of a percent."""
    return np.rint(np.exp(logprobs.astype(np.float64)) * HUNDREDTHS).astype(np.int64).flatten().tolist()  # type: ignore[no-any-return]


def _finite(threshold: float) -> float | None:
    """A threshold as JSON can hold it: null where there was none."""
    if math.isinf(threshold):
        return None if threshold > 0 else CUT_OFF
    return short(threshold)
