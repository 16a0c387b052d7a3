"""``KeptLogits``: a chunk's own distributions, kept as the logits that the model gave."""

from dataclasses import dataclass

from torch import Tensor

from adaswitch.method.distribution import outcome_logprobs_of


@dataclass(frozen=True)
class KeptLogits:
    """A ``KeptRows`` of ``logits [n, V]`` in any number type. Log-probabilities are logits as well."""

    logits: Tensor

    async def outcomes(self, ids: Tensor) -> Tensor:
        """See ``KeptRows``."""
        if len(ids) != len(self.logits):
            raise ValueError(f"candidates of {len(ids)} tokens, for {len(self.logits)} distributions")
        return outcome_logprobs_of(self.logits, ids, self.logits.shape[-1])
