"""``TopK``: the only form in which a teacher's next-token distribution travels.

Shapes: n rows (positions), k candidates, V tokens in the vocabulary. Log-probabilities are natural logs, in
nats.

The teacher sends its k most likely ids with their log-probabilities. The probability that they leave over belongs to
one more outcome, the tail. Both sides of every divergence are taken over these k + 1 outcomes, so the result is a
proper divergence. By the data-processing inequality it is a lower bound of the divergence over the full vocabulary,
and it is exact at k = V.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from adaswitch.errors import NonFiniteError
from adaswitch.method.outcomes import raw_outcomes

TAIL_FLOOR = 1e-7
"""The smallest probability of a tail. A smaller ``1 - sum(top-k)`` is only a rounding error of float32."""


@dataclass(frozen=True)
class TopK:
    """n distributions of the teacher, as top-k and tail.

    ``ids [n, k]`` are int64 and distinct in a row; ``logprobs [n, k]`` are float32 and falling; ``vocab_size`` is V.
    Raises ``ValueError`` for other shapes, for no candidates (every divergence would be 0) and for an id beyond V, and
    ``NonFiniteError`` for a log-probability that is not finite.
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
        """The number of candidates in a row."""
        return self.ids.shape[1]

    def rows(self, start: int, stop: int) -> "TopK":
        """Rows ``start .. stop - 1``."""
        return TopK(self.ids[start:stop], self.logprobs[start:stop], self.vocab_size)

    def outcome_logprobs(self) -> Tensor:
        """The log-probabilities ``[n, k + 1]`` of the k + 1 outcomes, with the tail last. Each row is normalised.

        At k = V the tail is impossible, so its log-probability is -inf.
        """
        if self.k >= self.vocab_size:
            return functional.pad(self.logprobs.float(), (0, 1), value=-torch.inf).log_softmax(-1)
        total = self.logprobs.double().exp().sum(-1, keepdim=True)
        tail = (1.0 - total).clamp_min(TAIL_FLOOR).log()
        return torch.cat([self.logprobs.double(), tail], dim=-1).log_softmax(-1).float()

    def entropies(self) -> Tensor:
        """The entropy of the k + 1 outcomes of each row ``[n]``, in nats and float64."""
        entropies: Tensor = torch.special.entr(self.outcome_logprobs().double().exp()).sum(-1)
        return entropies


def concatenate(parts: Sequence[TopK]) -> TopK:
    """One ``TopK`` with the rows of all ``parts`` in their order. All parts must have the same k and V."""
    shapes = {(part.k, part.vocab_size) for part in parts}
    if len(shapes) != 1:
        raise ValueError(f"cannot join distributions of different (k, vocabulary): {sorted(shapes)}")
    return TopK(
        torch.cat([part.ids for part in parts]),
        torch.cat([part.logprobs for part in parts]),
        parts[0].vocab_size,
    )


def top_k(logprobs: Tensor, k: int) -> TopK:
    """The k most likely candidates of full log-probabilities ``logprobs [n, V]``."""
    values, ids = logprobs.topk(k, dim=-1)
    return TopK(ids, values.float(), logprobs.shape[-1])


def outcome_logprobs_of(logits: Tensor, ids: Tensor, vocab_size: int) -> Tensor:
    """The student's side of a divergence: full ``logits [n, V']`` as the k + 1 outcomes of ``ids [n, k]``.

    The tail is a log-sum-exp over the ids that are left over, and not ``log(1 - sum)``. So the tail and its gradient
    stay exact even if the top-k holds nearly all probability. V' may exceed ``vocab_size``, because padding rows of an
    embedding are no tokens; columns beyond ``vocab_size`` are ignored. ``logits`` may also be log-probabilities. The
    result is float64 for float64 logits, and float32 otherwise.
    """
    return raw_outcomes(logits, ids, vocab_size).log_softmax(-1)
