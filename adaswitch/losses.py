"""Token-level distillation losses. ← To change or add a loss, do it here and in ``config/trainer.py``.

A loss gives one value per completion token, in nats; ``token_losses`` is all that the trainer calls. The step's
loss is their mean over all completion tokens of the whole optimizer step, those of both stages, however they
are cut into micro-batches (arXiv 2510.07842).
"""

from torch import Tensor

from adaswitch.batching import Batch
from adaswitch.config.trainer import (
    CrossEntropyConfig,
    ForwardKLConfig,
    JSDConfig,
    LossConfig,
    ReverseKLConfig,
)
from adaswitch.distribution import outcome_logprobs_of
from adaswitch.divergence import forward_kl, jsd, reverse_kl


def token_losses(config: LossConfig, batch: Batch, completion_logits: Tensor) -> Tensor:
    """The loss of each of the n completion tokens ``[n]``, from the student's ``completion_logits [n, V']``."""
    if isinstance(config, CrossEntropyConfig):
        return cross_entropy(completion_logits, batch.token_ids, batch.vocab_size)
    q_logprobs = outcome_logprobs_of(completion_logits, batch.top_ids, batch.vocab_size)
    p_logprobs = batch.teacher_logprobs
    match config:
        case ForwardKLConfig():
            return forward_kl(p_logprobs, q_logprobs)
        case ReverseKLConfig():
            return reverse_kl(p_logprobs, q_logprobs)
        case JSDConfig(beta=beta):
            return jsd(p_logprobs, q_logprobs, beta)


def cross_entropy(logits: Tensor, token_ids: Tensor, vocab_size: int) -> Tensor:
    """-log q(token) ``[n]``, of ``logits [n, V']`` whose padding rows beyond ``vocab_size`` do not count."""
    logprobs = logits[:, :vocab_size].float().log_softmax(-1)
    return -logprobs.gather(-1, token_ids.unsqueeze(-1)).squeeze(-1)
