"""Losses of a user's own that say, or do not say, whether they look at each token alone."""

from torch import Tensor

from adaswitch.method.batching import Batch


class PerToken:
    """Cross entropy, which may be asked for in pieces."""

    per_token = True

    def token_losses(self, batch: Batch, completion_logits: Tensor) -> Tensor:
        """-log q(token) ``[n]``."""
        return batch.cross_entropy(completion_logits)


class ByRollout:
    """Cross entropy in which each rollout counts the same, whatever its length."""

    def token_losses(self, batch: Batch, completion_logits: Tensor) -> Tensor:
        """-log q(token) over the length of the token's rollout ``[n]``."""
        return batch.cross_entropy(completion_logits) / batch.row.bincount()[batch.row]
