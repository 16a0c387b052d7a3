"""Says why a number is not finite: the student's weights are looked at first, since a NaN in them explains all others.

The weights are looked at only after something else has turned out not to be finite, or before they are saved.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

HUGE = 1e4
"""Weights of this size have been thrown off by the optimizer: those of working models are far smaller."""


def non_finite_weight(weights: Mapping[str, Tensor]) -> str | None:
    """The first of ``weights`` that is not finite, and what it holds, as in ``lm_head.weight holds nan``; or None."""
    for name, weight in weights.items():
        if not bool(weight.isfinite().all()):
            return f"{name} holds {'nan' if bool(weight.isnan().any()) else 'infinity'}"
    return None


def weights_problem(weights: Mapping[str, Tensor], step: int, learning_rate: float | None) -> str | None:
    """One line if the student's ``weights`` after ``step`` updates are not finite; None if they are.

    ``learning_rate`` is that of the last update; None if it is not known.
    """
    found = non_finite_weight(weights)
    if found is None:
        return None
    if step == 0:
        return (
            f"the student's weights are not finite at step 0, before any update ({found}): student.model is "
            "damaged, or its weights are too large for student.dtype; take another folder, or float32"
        )
    fix = "lower trainer.optimizer.learning_rate"
    if any(weight.dtype == torch.float16 for weight in weights.values()):
        fix += ", or set student.dtype to float32, since float16 ends at 65,504"
    return f"the student's weights are not finite after step {step}{_at(learning_rate)} ({found}): {fix}"


def explained(error: Exception, weights: Mapping[str, Tensor], step: int, learning_rate: float | None) -> str:
    """What ``error`` says of a number that is not finite, in the light of the ``weights`` after ``step`` updates."""
    problem = weights_problem(weights, step, learning_rate)
    if problem is not None:
        return problem
    largest = max((float(weight.abs().max()) for weight in weights.values() if weight.numel()), default=0.0)
    note = f"the student's weights after step {step}{_at(learning_rate)} are finite, the largest is {largest:.3g}"
    if largest >= HUGE:
        note += ", which is far too large: lower trainer.optimizer.learning_rate"
    return f"{error} ({note})"


def _at(learning_rate: float | None) -> str:
    return "" if learning_rate is None else f", at a learning rate of {learning_rate:.3g},"
