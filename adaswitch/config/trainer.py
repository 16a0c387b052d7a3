"""Settings of the trainer: the loss, the optimizer, and how often what is written."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from adaswitch.config.base import Settings


class StageWeights(Settings):
    """How much a token counts, by who wrote it. Every loss has these."""

    exploration_weight: float = Field(default=1.0, ge=0, le=1000)
    """Of each token that the student wrote. 0 leaves the student's own tokens out of the loss."""
    guidance_weight: float = Field(default=1.0, ge=0, le=1000)
    """Of each token that the student did not write."""

    @field_validator("exploration_weight", "guidance_weight")
    @classmethod
    def _none_or_some(cls, weight: float) -> float:
        if 0 < weight < 0.001:
            raise ValueError("must be 0 or at least 0.001: only the two weights' ratio matters")
        return weight

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if self.exploration_weight == self.guidance_weight == 0:
            raise ValueError(
                "exploration_weight and guidance_weight are both 0, so nothing would be learnt: "
                "set at least one above 0"
            )
        return self


class DivergenceSettings(StageWeights):
    """What every divergence between teacher and student has."""

    temperature: float = Field(default=1.0, ge=0.01, le=100)
    """T: both sides are softened to probabilities ~ p^(1/T); gradients are not scaled up again by T^2."""
    cross_entropy_weight: float = Field(default=0.0, ge=0, le=1)
    """w: the loss is (1 - w) times the divergence plus w times the token's cross entropy at temperature 1.
    On the student's own tokens as well; an ``exploration_weight`` of 0 leaves the others."""


class ForwardKLConfig(DivergenceSettings):
    """KL(teacher || student), the default."""

    kind: Literal["forward_kl"] = "forward_kl"


class ReverseKLConfig(DivergenceSettings):
    """KL(student || teacher)."""

    kind: Literal["reverse_kl"] = "reverse_kl"


class JSDConfig(DivergenceSettings):
    """Generalised Jensen-Shannon divergence: beta towards 0 is forward KL, towards 1 reverse KL."""

    kind: Literal["jsd"] = "jsd"
    beta: float = Field(default=0.5, gt=0, lt=1)
    """The teacher's share of the mixture that both sides are compared with."""


class SkewedKLConfig(DivergenceSettings):
    """KL(teacher || mixture) of DistiLLM; alpha towards 0 is forward KL."""

    kind: Literal["skewed_kl"] = "skewed_kl"
    alpha: float = Field(default=0.1, gt=0, lt=1)
    """The teacher's share of the mixture; the rest is the student's."""


class SkewedReverseKLConfig(DivergenceSettings):
    """KL(student || mixture) of DistiLLM; alpha towards 0 is reverse KL."""

    kind: Literal["skewed_reverse_kl"] = "skewed_reverse_kl"
    alpha: float = Field(default=0.1, gt=0, lt=1)
    """The student's share of the mixture; the rest is the teacher's."""


class TotalVariationConfig(DivergenceSettings):
    """Half the sum of abs(teacher - student), from 0 to 1."""

    kind: Literal["total_variation"] = "total_variation"


class CrossEntropyConfig(StageWeights):
    """Cross entropy on the tokens themselves, as in SFT and SeqKD."""

    kind: Literal["cross_entropy"] = "cross_entropy"


DivergenceLossConfig = (
    ForwardKLConfig
    | ReverseKLConfig
    | JSDConfig
    | SkewedKLConfig
    | SkewedReverseKLConfig
    | TotalVariationConfig
)
"""The losses that compare the two distributions."""

LossConfig = Annotated[DivergenceLossConfig | CrossEntropyConfig, Field(discriminator="kind")]


class OptimizerConfig(Settings):
    """AdamW with a linear warm-up, a schedule and clipping."""

    learning_rate: float = Field(default=1e-4, gt=0)
    """Its highest value, at the end of the warm-up."""
    betas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(default=[0.9, 0.95], min_length=2, max_length=2)
    """Decay of AdamW's running means of the gradient and of its square."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Each update also shrinks the weights by this, times the learning rate."""
    warmup_steps: int = Field(default=10, ge=0)
    """Updates in which the learning rate rises in a line."""
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    """From the warm-up to the last step: unchanged, or down to ``final_fraction`` of the learning rate."""
    final_fraction: float = Field(default=0.0, ge=0, le=1)
    """Of the learning rate: where ``cosine`` and ``linear`` would arrive after the last step."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """A longer gradient is scaled down to this length."""


class TrainerConfig(Settings):
    """The training job."""

    num_steps: int = Field(default=200, ge=1)
    """Updates of the whole run."""
    time_limit_s: float | None = Field(default=None, gt=0)
    """The run is complete after the step with which its steps, evaluations not counted, have taken so long."""
    prompts_per_step: int = Field(default=32, ge=1)
    """Rollouts in one update."""
    micro_batch_size: int = Field(default=32, ge=1)
    """Rollouts in one forward and backward pass. Changes memory and speed, never the loss."""
    max_staleness: int = Field(default=0, ge=0)
    """By how many updates a rollout's weights may be older than those it trains; 0 is strictly synchronous."""
    loss: LossConfig = ForwardKLConfig()
    """Of each completion token; a step's loss is their mean, weighted by who wrote the token."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """How the gradient becomes an update."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the forward and backward pass; weights and optimizer are float32 always."""
    device: str = "auto"
    """``auto`` takes a GPU if there is one, else the CPU."""
    num_threads: int = Field(default=1, ge=1)
    """CPU threads of the trainer."""
    gradient_checkpointing: bool = False
    """Half the memory for activations, at a third more time."""
    eval_every: int = Field(default=50, ge=0)
    """Exact match on held-out prompts every so many steps, and before and after; 0 is never."""
    eval_prompts: int = Field(default=500, ge=1)
    """At most so many held-out prompts."""
    eval_batch_size: int = Field(default=128, ge=1)
    """Held-out prompts that are answered as one batch."""
    checkpoint_every: int = Field(default=100, ge=0)
    """A checkpoint every so many steps, and at the end; 0 is at the end alone."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """So many of the newest; older ones are removed."""
    save_rollouts: bool = True
    """Keep every rollout under ``rollouts/``."""
    resume: bool = True
    """Go on from the newest checkpoint in the run directory, if there is one."""
    rollout_timeout_s: float = Field(default=1800.0, gt=0)
    """How long a step's rollouts are waited for before the run gives up."""
