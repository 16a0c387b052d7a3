"""Cross entropy on the tokens themselves: supervised fine-tuning, and sequence-level KD (arXiv 1606.07947)."""

from typing import TYPE_CHECKING, Literal

from adaswitch.method.losses.base import StageWeights

if TYPE_CHECKING:
    from torch import Tensor

    from adaswitch.method.batching import Batch


class CrossEntropy(StageWeights):
    """Cross entropy on the tokens themselves, as in SFT and SeqKD."""

    kind: Literal["cross_entropy"] = "cross_entropy"

    def token_losses(self, batch: "Batch", completion_logits: "Tensor") -> "Tensor":
        """-log q(token) ``[n]``; see ``Loss``."""
        return batch.cross_entropy(completion_logits)
