"""From the losses of tokens to the loss of a step.

The loss of a step is the weighted mean of ``Loss.token_losses`` over all completion tokens of the whole optimizer
step, with the tokens of both stages (arXiv 2510.07842). The mean does not depend on how the step is cut into
micro-batches: ``total_weight`` is its divisor, and ``loss_share`` is the part that one micro-batch adds.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from adaswitch.method.losses.base import Loss
from adaswitch.method.rollout import Rollout


def total_weight(loss: Loss, rollouts: Sequence[Rollout]) -> float:
    """The sum of the weights of all completion tokens of a step."""
    exploration_weight, guidance_weight = loss.stage_weights()
    num_teacher = sum(int(rollout.by_teacher.sum()) for rollout in rollouts)
    num_student = sum(rollout.num_tokens for rollout in rollouts) - num_teacher
    return exploration_weight * num_student + guidance_weight * num_teacher


def loss_share(loss: Loss, losses: Tensor, by_teacher: Tensor, total_weight: float) -> Tensor:
    """The part that n tokens with ``losses [n]`` add to the loss of their step: a scalar, in nats.

    ``by_teacher [n]`` says who wrote each token. If no token of the step counts (``total_weight`` 0), the loss is 0.
    """
    exploration_weight, guidance_weight = loss.stage_weights()
    weights = torch.where(by_teacher, guidance_weight, exploration_weight)
    return (weights * losses).sum() / (total_weight or 1.0)
