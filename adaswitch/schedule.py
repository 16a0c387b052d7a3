"""Which prompt comes when, and at which learning rate: both follow from the step alone, so that a run resumes."""

import math
from collections.abc import Sequence

import numpy as np

from adaswitch.config.trainer import OptimizerConfig
from adaswitch.rollout import Prompt


class PromptSchedule:
    """Every epoch is a fresh shuffle of all prompts, fixed by the seed; step s trains on draws s B .. s B + B - 1."""

    def __init__(
        self, prompts: Sequence[tuple[int, ...]], prompts_per_step: int, max_staleness: int, seed: int
    ) -> None:
        """``prompts`` are token ids, in the data set's order."""
        self._prompts = prompts
        self._prompts_per_step = prompts_per_step
        self._max_staleness = max_staleness
        self._seed = seed
        self._order: tuple[int, list[int]] = (-1, [])

    def step(self, step: int) -> list[Prompt]:
        """The prompts of one optimizer step, by rising id."""
        first = step * self._prompts_per_step
        return [self._draw(prompt_id, step) for prompt_id in range(first, first + self._prompts_per_step)]

    def _draw(self, prompt_id: int, step: int) -> Prompt:
        epoch, place = divmod(prompt_id, len(self._prompts))
        index = self._epoch_order(epoch)[place]
        return Prompt(
            id=prompt_id,
            token_ids=self._prompts[index],
            record=index + 1,
            step=step,
            min_version=max(0, step - self._max_staleness),
        )

    def _epoch_order(self, epoch: int) -> list[int]:
        if self._order[0] != epoch:
            shuffled = np.random.default_rng([self._seed, epoch]).permutation(len(self._prompts))
            self._order = (epoch, shuffled.tolist())
        return self._order[1]


def learning_rate(config: OptimizerConfig, step: int, num_steps: int) -> float:
    """The learning rate of update ``step`` (from 0): up in a line, then by the schedule down to the last."""
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
