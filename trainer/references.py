"""``ReferenceSource``: the data set's own answers as rollouts. It needs no teacher, no students and no Ray."""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from adaswitch.method.distribution import TopK
from adaswitch.method.prompt import Prompt
from adaswitch.method.rollout import Ending, Rollout
from trainer.without_students import SourceWithoutStudents


class ReferenceSource(SourceWithoutStudents):
    """A ``RolloutSource`` whose completions are the references that come with the prompts."""

    doing = "references are trained on"

    def __init__(self, vocab_size: int, max_new_tokens: int, stop_token_ids: Collection[int]) -> None:
        """``vocab_size`` is V. References are cut after ``max_new_tokens``; ``stop_token_ids`` end a completion."""
        self._vocab_size = vocab_size
        self._max_new_tokens = max_new_tokens
        self._stop_token_ids = frozenset(stop_token_ids)
        self._version = 0

    def publish(self, version: int, weights: Mapping[str, Tensor]) -> None:
        """Note the ``version``. No student needs the weights."""
        self._version = version

    def take(self, prompts: Sequence[Prompt], should_stop: Callable[[], bool]) -> list[Rollout] | None:
        """The references of ``prompts`` as rollouts."""
        return None if should_stop() else [self._rollout(prompt) for prompt in prompts]

    @property
    def version(self) -> int:
        """See ``RolloutSource``."""
        return self._version

    def _rollout(self, prompt: Prompt) -> Rollout:
        token_ids = prompt.reference_token_ids[: self._max_new_tokens]
        # A data set's distribution is certain of its own token. Cross entropy, the only loss here, does not read it.
        certain = TopK(torch.tensor(token_ids)[:, None], torch.zeros(len(token_ids), 1), self._vocab_size)
        return Rollout(
            prompt=prompt,
            completion_token_ids=token_ids,
            by_teacher=np.ones(len(token_ids), dtype=np.bool_),
            teacher=certain,
            divergences=(),
            thresholds=(),
            ending=Ending.STOP if token_ids[-1] in self._stop_token_ids else Ending.LENGTH,
            weights_version=self._version,
        )
