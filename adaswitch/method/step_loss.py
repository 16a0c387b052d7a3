"""From the losses of tokens to the loss of a step.

The loss of a step is the weighted mean of ``Loss.token_losses`` over all completion tokens of the whole optimizer
step, with the tokens of both stages (arXiv 2510.07842). The mean does not depend on how the step is cut into
micro-batches: ``total_weight`` is its divisor, and ``loss_share`` is the part that one micro-batch adds.

What a token counts is known before any loss is computed, and travels with its rollout: ``weighed`` multiplies what the
policy says of it (``Rollout.token_weights``) by what the loss says of its writer, and leaves out what is not selected.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from adaswitch.method.losses.base import Loss
from adaswitch.method.rollout import Rollout
from adaswitch.method.selection import selected


def weighed(loss: Loss, rollouts: Sequence[Rollout]) -> list[Rollout]:
    """The rollouts of a whole step, with what each token counts in its loss as their ``token_weights``."""
    exploration_weight, guidance_weight = loss.stage_weights()
    weights = [
        np.where(rollout.by_teacher, guidance_weight, exploration_weight) * rollout.weights
        for rollout in rollouts
    ]
    selection = loss.selection()
    if selection.selects:
        masks = selected(selection, rollouts, [own > 0 for own in weights])
        weights = [own * mask for own, mask in zip(weights, masks, strict=True)]
    return [replace(rollout, token_weights=own) for rollout, own in zip(rollouts, weights, strict=True)]


def total_weight(rollouts: Sequence[Rollout]) -> float:
    """The sum of the weights of all completion tokens of a step that was ``weighed``."""
    return math.fsum(weight for rollout in rollouts for weight in rollout.weights)


def loss_share(losses: Tensor, weights: Tensor, total_weight: float) -> Tensor:
    """The part that n tokens with ``losses [n]`` and ``weights [n]`` add to the loss of their step: a scalar, in nats.

    If no token of the step counts (``total_weight`` 0), the loss is 0.
    """
    return (weights.to(losses.dtype) * losses).sum() / (total_weight or 1.0)
