"""Token-level distillation losses. ← To change or add a loss, do it here and in ``config/trainer.py``.

Three functions are all that the trainer calls. ``token_losses`` gives one value per completion token, in nats.
A step's loss is their weighted mean over all completion tokens of the whole optimizer step, those of both
stages (arXiv 2510.07842), however they are cut into micro-batches: ``total_weight`` is what it is divided by,
``loss_share`` what one micro-batch adds.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from adaswitch.config.trainer import (
    CrossEntropyConfig,
    DivergenceLossConfig,
    ForwardKLConfig,
    JSDConfig,
    LossConfig,
    ReverseKLConfig,
    SkewedKLConfig,
    SkewedReverseKLConfig,
    TotalVariationConfig,
)
from adaswitch.method.batching import Batch
from adaswitch.method.distribution import outcome_logprobs_of
from adaswitch.method.divergence import (
    forward_kl,
    jsd,
    reverse_kl,
    skewed_kl,
    skewed_reverse_kl,
    total_variation,
)
from adaswitch.method.rollout import Rollout


def token_losses(config: LossConfig, batch: Batch, completion_logits: Tensor) -> Tensor:
    """The loss of each of the n completion tokens ``[n]``, from the student's ``completion_logits [n, V']``.

    Not yet weighted by who wrote the token.
    """
    if isinstance(config, CrossEntropyConfig) or config.cross_entropy_weight == 1:
        return cross_entropy(completion_logits, batch.token_ids, batch.vocab_size)
    q_logprobs = outcome_logprobs_of(completion_logits, batch.top_ids, batch.vocab_size)
    losses = outcome_losses(config, batch.teacher_logprobs, q_logprobs)
    if config.cross_entropy_weight == 0:
        return losses
    on_tokens = cross_entropy(completion_logits, batch.token_ids, batch.vocab_size)
    return (1 - config.cross_entropy_weight) * losses + config.cross_entropy_weight * on_tokens


def outcome_losses(config: DivergenceLossConfig, p_logprobs: Tensor, q_logprobs: Tensor) -> Tensor:
    """The divergence of teacher and student at the config's temperature ``[n]``.

    Both sides are log-probabilities at temperature 1 over the same outcomes ``[n, k + 1]``.
    """
    p_logprobs, q_logprobs = (retempered(side, config.temperature) for side in (p_logprobs, q_logprobs))
    match config:
        case ForwardKLConfig():
            return forward_kl(p_logprobs, q_logprobs)
        case ReverseKLConfig():
            return reverse_kl(p_logprobs, q_logprobs)
        case JSDConfig(beta=beta):
            return jsd(p_logprobs, q_logprobs, beta)
        case SkewedKLConfig(alpha=alpha):
            return skewed_kl(p_logprobs, q_logprobs, alpha)
        case SkewedReverseKLConfig(alpha=alpha):
            return skewed_reverse_kl(p_logprobs, q_logprobs, alpha)
        case TotalVariationConfig():
            return total_variation(p_logprobs, q_logprobs)


def retempered(logprobs: Tensor, temperature: float) -> Tensor:
    """Log-probabilities of the same outcomes at another temperature: log-softmax(log p / T).

    With a candidate for every token this is the softmax of logits / T. Else the tail is tempered as the one
    outcome that it is, on both sides alike: still a proper divergence, yet no longer a lower bound of that of
    the full distributions at T. At a high T a tail at ``TAIL_FLOOR`` is no longer next to nothing either.

    No loss is multiplied by T^2 (as in arXiv 1503.02531): it stays in nats, and ``cross_entropy_weight`` says
    outright how divergence and cross entropy are to be weighed.
    """
    return logprobs if temperature == 1 else (logprobs / temperature).log_softmax(-1)


def cross_entropy(logits: Tensor, token_ids: Tensor, vocab_size: int) -> Tensor:
    """-log q(token) ``[n]``, of ``logits [n, V']`` whose padding rows beyond ``vocab_size`` do not count."""
    return -outcome_logprobs_of(logits, token_ids.unsqueeze(-1), vocab_size)[:, 0]


def total_weight(config: LossConfig, rollouts: Sequence[Rollout]) -> float:
    """The weights of all completion tokens of a step, added up."""
    num_teacher = sum(int(rollout.by_teacher.sum()) for rollout in rollouts)
    num_student = sum(rollout.num_tokens for rollout in rollouts) - num_teacher
    return config.exploration_weight * num_student + config.guidance_weight * num_teacher


def loss_share(config: LossConfig, losses: Tensor, by_teacher: Tensor, total_weight: float) -> Tensor:
    """What n tokens with ``losses [n]`` add to their step's loss: a scalar, in nats.

    ``by_teacher [n]`` says who wrote each. Where no token of the step counts, ``total_weight`` 0, the loss is
    0 as well.
    """
    weights = torch.where(by_teacher, config.guidance_weight, config.exploration_weight)
    return (weights * losses).sum() / (total_weight or 1.0)
