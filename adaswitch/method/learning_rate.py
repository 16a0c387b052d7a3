"""The optimizer's settings, and the learning rate of each update, which follows from the step alone."""

import math
from typing import Annotated, Literal

from pydantic import Field

from adaswitch.config.base import Settings


class OptimizerConfig(Settings):
    """AdamW with a linear warm-up, a schedule and clipping."""

    kind: Literal["adamw", "adamw_8bit"] = "adamw"
    """``adamw`` keeps AdamW's two running means in float32. ``adamw_8bit`` keeps them in 8 bits, block by block, which
    takes a quarter of their memory (arXiv 2110.02861). It needs the package torchao (``adaswitch[adamw8bit]``), whose
    updates are compiled in the first step, and cannot be divided among ranks."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """The highest learning rate, which is reached at the end of the warm-up."""
    betas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(default=[0.9, 0.95], min_length=2, max_length=2)
    """The decay rates of AdamW's two running means: that of the gradient, and that of the gradient's square."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's weight decay: each update also shrinks the weights by this value times the learning rate."""
    warmup_steps: int = Field(default=10, ge=0)
    """The number of first updates in which the learning rate rises linearly."""
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    """The course of the learning rate from the warm-up to the last step. ``constant`` leaves it unchanged; ``cosine``
    and ``linear`` lower it to ``final_fraction`` of ``learning_rate``."""
    final_fraction: float = Field(default=0.0, ge=0, le=1)
    """The fraction of ``learning_rate`` that ``cosine`` and ``linear`` would reach after the last step."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """The largest norm of the gradient. A gradient with a larger norm is scaled down to this norm."""


def last_learning_rate(config: OptimizerConfig, num_updates: int, num_steps: int) -> float | None:
    """The learning rate of the last of the first ``num_updates`` updates; None if there was none."""
    return learning_rate(config, num_updates - 1, num_steps) if num_updates else None


def learning_rate(config: OptimizerConfig, step: int, num_steps: int) -> float:
    """The learning rate of update ``step``, counted from 0: a linear rise, and after it the schedule."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, num_steps - config.warmup_steps)
    match config.schedule:
        case "constant":
            shape = 1.0
        case "linear":
            shape = 1.0 - progress
        case "cosine":
            shape = 0.5 * (1.0 + math.cos(math.pi * progress))
    return config.learning_rate * (config.final_fraction + (1.0 - config.final_fraction) * shape)
