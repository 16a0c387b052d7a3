"""Settings of the student and of the rollout policy."""

from typing import Annotated, Literal

from pydantic import Field

from adaswitch.config.base import Settings

DivergenceName = Literal["forward_kl", "reverse_kl", "jsd"]


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


class AdaSwitchPolicyConfig(Settings):
    """The student writes until the divergence passes ``factor`` times its recent mean, then the teacher."""

    kind: Literal["adaswitch"] = "adaswitch"
    window: int = Field(default=10, ge=1)
    """L: over how many steps the mean is taken."""
    factor: float = Field(default=3.0, gt=0)
    """K: the threshold is so many times the mean."""
    floor: float = Field(default=0.0, ge=0)
    """In nats: the threshold is never below it. 0 is the paper's rule."""
    metric: DivergenceName = "forward_kl"
    """The divergence between the teacher's and the student's next-token distributions."""
    chunk_size: int = Field(default=16, ge=1)
    """Tokens that the student writes between two looks at the teacher. Changes the cost, never the result."""


class OnPolicyConfig(Settings):
    """The student writes all of it."""

    kind: Literal["on_policy"] = "on_policy"


class OffPolicyConfig(Settings):
    """The teacher writes all of it."""

    kind: Literal["off_policy"] = "off_policy"


PolicyConfig = Annotated[
    AdaSwitchPolicyConfig | OnPolicyConfig | OffPolicyConfig, Field(discriminator="kind")
]
