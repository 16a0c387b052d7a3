"""Which prompt comes in which step, and with which share of the teacher's budget.

All of this follows from the step alone, so that a resumed run goes on as if it had never stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from pydantic import Field

from adaswitch.config.base import Settings
from adaswitch.method.coins import prompt_coin
from adaswitch.method.prompt import Prompt


class PromptSchedule:
    """Every epoch is a fresh shuffle of all prompts, fixed by the seed; step s trains on draws s B .. s B + B - 1."""

    def __init__(
        self,
        prompts: Sequence[tuple[int, ...]],
        prompts_per_step: int,
        max_staleness: int,
        seed: int,
        references: Sequence[tuple[int, ...]] = (),
        teacher_shares: "TeacherShares | None" = None,
    ) -> None:
        """``prompts`` are token ids in the data set's order. ``references`` are empty, or have one for each prompt.

        Raises ``ValueError`` if there are references, but not as many as prompts.
        """
        if references and len(references) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts with {len(references)} references: each needs its own")
        self._prompts = prompts
        self._prompts_per_step = prompts_per_step
        self._max_staleness = max_staleness
        self._seed = seed
        self._references = references
        self._teacher_shares = teacher_shares
        self._order: tuple[int, list[int]] = (-1, [])

    def step(self, step: int, divergence_scale: float | None = None) -> list[Prompt]:
        """The prompts of one optimizer step, by rising id. Each prompt carries ``divergence_scale`` unchanged."""
        first = step * self._prompts_per_step
        ids = range(first, first + self._prompts_per_step)
        return [self._draw(prompt_id, step, divergence_scale) for prompt_id in ids]

    def _draw(self, prompt_id: int, step: int, divergence_scale: float | None) -> Prompt:
        epoch, place = divmod(prompt_id, len(self._prompts))
        index = self._epoch_order(epoch)[place]
        return Prompt(
            id=prompt_id,
            token_ids=self._prompts[index],
            record=index + 1,
            step=step,
            min_version=max(0, step - self._max_staleness),
            reference_token_ids=self._references[index] if self._references else (),
            max_teacher_tokens=self._teacher_shares.of(prompt_id) if self._teacher_shares else None,
            coin=prompt_coin(self._seed, prompt_id),
            divergence_scale=divergence_scale,
        )

    def _epoch_order(self, epoch: int) -> list[int]:
        if self._order[0] != epoch:
            shuffled = np.random.default_rng([self._seed, epoch]).permutation(len(self._prompts))
            self._order = (epoch, shuffled.tolist())
        return self._order[1]


class TeacherBudgetConfig(Settings):
    """A limit on the tokens that the teacher writes, which is divided among the prompts beforehand.

    The tokens of a step are divided evenly among its prompts, and the tokens of a run evenly among its steps. Tokens
    that a prompt does not use are not passed on to another prompt. So the limit depends neither on the number of
    actors nor on their order, and it also holds for a run that is resumed. Scored tokens are not counted.
    """

    tokens_per_step: int | None = Field(default=None, ge=1)
    """The largest number of tokens that the teacher writes in all rollouts of one step together. It must be at least
    ``trainer.prompts_per_step``."""
    tokens_per_run: int | None = Field(default=None, ge=1)
    """The largest number of tokens that the teacher writes in all ``trainer.num_steps`` steps together. There must be
    at least one token for each rollout."""


@dataclass(frozen=True)
class TeacherShares:
    """How the teacher's budget is divided: a step's evenly among its prompts, a run's evenly among its steps.

    With 10 tokens a step, 4 prompts may take 2, 3, 2 and 3 tokens. A share follows from the prompt's id alone.
    """

    budget: TeacherBudgetConfig
    prompts_per_step: int
    num_steps: int

    def of(self, prompt_id: int) -> int | None:
        """The largest number of tokens that the teacher may write in the prompt's rollout; None without a limit."""
        step, place = divmod(prompt_id, self.prompts_per_step)
        limits = []
        if self.budget.tokens_per_step is not None:
            limits.append(self.budget.tokens_per_step)
        if self.budget.tokens_per_run is not None:
            limits.append(_share(self.budget.tokens_per_run, step, self.num_steps))
        return _share(min(limits), place, self.prompts_per_step) if limits else None


def _share(total: int, place: int, num_places: int) -> int:
    """The share of ``total`` for ``place``. The shares of all places add up to ``total`` and differ by one at most."""
    return (place + 1) * total // num_places - place * total // num_places


def divergence_scale(
    mean_divergences: Mapping[int, float | None], step: int, window_steps: int, max_staleness: int
) -> float | None:
    """The scale, in nats, that all prompts of ``step`` share, from the recorded ``mean_divergences`` of each step.

    The scale is the mean over the ``window_steps`` steps before ``step - max_staleness``, or over as many of these
    steps as have a mean; None if no step has one. The prompts of ``step`` may be offered right after those steps, so
    newer records are left out even if they exist. So the scale follows from the records alone, and is the same after
    a resume.
    """
    end = step - max_staleness
    known = (mean_divergences.get(earlier) for earlier in range(end - window_steps, end))
    means = [mean for mean in known if mean is not None]
    # Rounding may make a divergence near 0 negative.
    return max(0.0, fmean(means)) if means else None
