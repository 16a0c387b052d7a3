"""``Update``: the figures of one optimizer step, and the sums over tokens from which they follow."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from adaswitch.errors import NonFiniteError

NUM_SUMS = 4


@dataclass(frozen=True)
class Update:
    """The figures of one update. Losses are in nats per token."""

    loss: float
    """The loss that was minimised: the mean over all tokens, where each token is weighted by who wrote it."""
    loss_on_student_tokens: float | None
    """The plain mean over the tokens that the student wrote, whatever their weight; None without such tokens."""
    loss_on_teacher_tokens: float | None
    """The plain mean over all tokens that the student did not write; None without such tokens."""
    grad_norm: float
    """The norm of the gradient before clipping."""
    learning_rate: float
    num_tokens: int
    counted_share: float
    """The share of the tokens that count in the loss: whose weight is above 0."""


def sums_by_writer(losses: Tensor, by_teacher: Tensor) -> Tensor:
    """``[4]``: the sum of the losses of the student's tokens, their number, and the same for all other tokens."""
    parts = (losses[~by_teacher], losses[by_teacher])
    return torch.stack([number for part in parts for number in (part.sum(), part.new_tensor(len(part)))])


def means_by_writer(sums: Tensor) -> tuple[float | None, float | None]:
    """The mean loss on the student's tokens, and on all other tokens. A mean without tokens is None."""
    student, num_student, other, num_other = sums.tolist()
    return (student / num_student if num_student else None), (other / num_other if num_other else None)


def refuse_non_finite(loss: float, grad_norm: float, step: int, rate: float) -> None:
    """Raises ``NonFiniteError`` if the loss or the norm of the gradient of ``step``, at the learning ``rate``, is not.

    The weights must not have been changed yet.
    """
    for name, value in (("loss", loss), ("gradient", grad_norm)):
        if not math.isfinite(value):
            raise NonFiniteError(
                f"the {name} of step {step} is {value}, at a learning rate of {rate:.3g}; the weights are left as "
                "they were: lower trainer.optimizer.learning_rate, or train in float32"
            )
