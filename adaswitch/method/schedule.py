"""Which prompt comes when, and at which learning rate: both follow from the step alone, so that a run resumes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from adaswitch.config import RunConfig
from adaswitch.config.student import TeacherBudgetConfig
from adaswitch.config.trainer import OptimizerConfig
from adaswitch.method.prompt import Prompt
from adaswitch.method.sampling import prompt_coin


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
        """``prompts`` are token ids, in the data set's order; ``references`` are theirs, or none at all.

        Raises ``ValueError`` where there are some but not as many.
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

    @classmethod
    def from_config(
        cls,
        config: RunConfig,
        prompts: Sequence[tuple[int, ...]],
        references: Sequence[tuple[int, ...]] = (),
    ) -> "PromptSchedule":
        """The schedule of a run."""
        trainer = config.trainer
        shares = TeacherShares(config.teacher_budget, trainer.prompts_per_step, trainer.num_steps)
        return cls(prompts, trainer.prompts_per_step, trainer.max_staleness, config.seed, references, shares)

    def step(self, step: int, divergence_scale: float | None = None) -> list[Prompt]:
        """The prompts of one optimizer step, by rising id; ``divergence_scale`` goes with each, as it is."""
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


@dataclass(frozen=True)
class TeacherShares:
    """How the teacher's budget is dealt out: a step's evenly over its prompts, a run's evenly over its steps.

    With 10 tokens a step, 4 prompts may take 2, 3, 2 and 3 tokens. A share follows from the prompt's id alone.
    """

    budget: TeacherBudgetConfig
    prompts_per_step: int
    num_steps: int

    def of(self, prompt_id: int) -> int | None:
        """At most so many tokens are the teacher's in the prompt's rollout; None without a limit."""
        step, place = divmod(prompt_id, self.prompts_per_step)
        limits = []
        if self.budget.tokens_per_step is not None:
            limits.append(self.budget.tokens_per_step)
        if self.budget.tokens_per_run is not None:
            limits.append(_share(self.budget.tokens_per_run, step, self.num_steps))
        return _share(min(limits), place, self.prompts_per_step) if limits else None


def _share(total: int, place: int, num_places: int) -> int:
    """Of ``total``, what falls to ``place``; over all places they add up to it, and differ by one at most."""
    return (place + 1) * total // num_places - place * total // num_places


def divergence_scale(
    mean_divergences: Mapping[int, float | None], step: int, window_steps: int, max_staleness: int
) -> float | None:
    """In nats: the scale that the prompts of ``step`` share, from the ``mean_divergences`` on record by step.

    The mean over the ``window_steps`` steps before ``step - max_staleness``, as far as there are any; None if not.
    A step may be offered as early as that, and newer records, which may be there, are left out: so the scale
    follows from the records, and is the same after a resume.
    """
    end = step - max_staleness
    known = (mean_divergences.get(earlier) for earlier in range(end - window_steps, end))
    means = [mean for mean in known if mean is not None]
    # A divergence near 0 may be rounded to below it.
    return max(0.0, fmean(means)) if means else None


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
