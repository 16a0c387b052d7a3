"""Settings of the student, and of how much the teacher may write."""

from typing import Literal

from pydantic import Field

from adaswitch.config.base import Settings


class StudentConfig(Settings):
    """The student: its model, and how the actors write with it."""

    model: str
    """A Hugging Face model folder, or a name on the hub: where training starts from."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the actors' copy; the trainer has its own."""
    device: str = "auto"
    """``auto`` takes a GPU if Ray gave the actor one, else the CPU."""
    num_actors: int = Field(default=1, ge=1)
    """Ray actors that write at the same time, each with its own copy of the model."""
    num_gpus_per_actor: float = Field(default=0.0, ge=0)
    """GPUs that Ray reserves for each; a fraction shares one."""
    num_threads: int = Field(default=1, ge=1)
    """CPU threads of an actor."""
    group_size: int = Field(default=16, ge=1)
    """Prompts that are leased together and decoded as one batch."""
    num_groups: int = Field(default=2, ge=1)
    """Groups under way at once in an actor: while one waits for the teacher, another writes."""
    temperature: float = Field(default=1.0, ge=0, le=100)
    """At which the student writes; 0 is greedy."""
    max_new_tokens: int = Field(default=128, ge=1)
    """The budget of a completion, whoever writes it."""


class TeacherBudgetConfig(Settings):
    """A limit to what the teacher writes: its tokens at most, dealt out to the prompts beforehand.

    A step's tokens are shared out evenly over its prompts, a run's over its steps; what one does not use is not
    passed on to another. So the limit depends neither on how many actors there are nor on who is first, and
    holds for a run that is resumed. Scored tokens are not counted.
    """

    tokens_per_step: int | None = Field(default=None, ge=1)
    """For one step's rollouts together; at least ``trainer.prompts_per_step``."""
    tokens_per_run: int | None = Field(default=None, ge=1)
    """For ``trainer.num_steps`` steps together; at least one a rollout."""
