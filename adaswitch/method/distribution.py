"""``TopK``: the one form in which a teacher's next-token distribution travels.

Shapes: n rows (positions), k candidates, V tokens in the vocabulary. Log-probabilities are natural logs, in
nats.

The teacher sends its k most likely ids with their log-probabilities. What they leave over is one more
outcome, the tail. Both sides of every divergence are taken over those k + 1 outcomes, so that it is a proper
divergence: by the data-processing inequality a lower bound of the full one, and exact at k = V.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from adaswitch.errors import NonFiniteError
from adaswitch.method.outcomes import raw_outcomes

TAIL_FLOOR = 1e-7
"""The smallest tail: below it, ``1 - sum(top-k)`` is float32's rounding and no measurement."""


@dataclass(frozen=True)
class TopK:
    """n teacher distributions as top-k and tail.

    ``ids [n, k]`` int64, distinct in a row; ``logprobs [n, k]`` float32, falling; ``vocab_size`` is V.
    Raises ``ValueError`` for other shapes, without a candidate (every divergence would be 0) and for an id
    beyond V, ``NonFiniteError`` for a log-probability that is not finite.
    """

    ids: Tensor
    logprobs: Tensor
    vocab_size: int

    def __post_init__(self) -> None:
        if self.ids.shape != self.logprobs.shape or self.ids.ndim != 2:
            raise ValueError(
                f"ids {tuple(self.ids.shape)} and logprobs {tuple(self.logprobs.shape)} must both be [n, k]"
            )
        if not 1 <= self.k <= self.vocab_size:
            raise ValueError(f"{self.k} candidates of {self.vocab_size} tokens: must be 1 to all of them")
        if len(self) and not 0 <= int(self.ids.min()) <= int(self.ids.max()) < self.vocab_size:
            raise ValueError(f"a candidate's id is not within the vocabulary of {self.vocab_size} tokens")
        if not torch.isfinite(self.logprobs).all():
            raise NonFiniteError("a teacher log-probability is not finite")

    def __len__(self) -> int:
        return self.ids.shape[0]

    @property
    def k(self) -> int:
        """How many candidates a row has."""
        return self.ids.shape[1]

    def rows(self, start: int, stop: int) -> "TopK":
        """Rows ``start .. stop - 1``."""
        return TopK(self.ids[start:stop], self.logprobs[start:stop], self.vocab_size)

    def outcome_logprobs(self) -> Tensor:
        """Log-probabilities of the k + 1 outcomes ``[n, k + 1]``, the tail last, each row normalised.

        At k = V the tail is impossible: -inf.
        """
        if self.k >= self.vocab_size:
            return functional.pad(self.logprobs.float(), (0, 1), value=-torch.inf).log_softmax(-1)
        total = self.logprobs.double().exp().sum(-1, keepdim=True)
        tail = (1.0 - total).clamp_min(TAIL_FLOOR).log()
        return torch.cat([self.logprobs.double(), tail], dim=-1).log_softmax(-1).float()


def concatenate(parts: Sequence[TopK]) -> TopK:
    """Several ``TopK`` one after the other; all must agree on k and V."""
    shapes = {(part.k, part.vocab_size) for part in parts}
    if len(shapes) != 1:
        raise ValueError(f"cannot join distributions of different (k, vocabulary): {sorted(shapes)}")
    return TopK(
        torch.cat([part.ids for part in parts]),
        torch.cat([part.logprobs for part in parts]),
        parts[0].vocab_size,
    )


def top_k(logprobs: Tensor, k: int) -> TopK:
    """The k most likely of full log-probabilities ``logprobs [n, V]``."""
    values, ids = logprobs.topk(k, dim=-1)
    return TopK(ids, values.float(), logprobs.shape[-1])


def outcome_logprobs_of(logits: Tensor, ids: Tensor, vocab_size: int) -> Tensor:
    """The other side of a divergence: full ``logits [n, V']`` seen as the k + 1 outcomes of ``ids [n, k]``.

    The tail is a log-sum-exp over the ids that are left over, and not ``log(1 - sum)``, so that it and its
    gradient stay exact where the top-k holds nearly everything. V' may exceed ``vocab_size`` (padding rows of
    an embedding are no tokens): what lies beyond is ignored. Log-probabilities will do for ``logits``. In
    float32, or float64 where the logits are.
    """
    return raw_outcomes(logits, ids, vocab_size).log_softmax(-1)
