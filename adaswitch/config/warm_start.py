"""Settings of the warm start: supervised fine-tuning that makes the student of a run."""

from pydantic import Field

from adaswitch.config.base import Settings
from adaswitch.method.learning_rate import OptimizerConfig


class WarmStart(Settings):
    """Supervised fine-tuning before the run. What is not named here is as in the run itself."""

    model: str
    """The model that is fine-tuned: a Hugging Face model folder, or a name on the hub."""
    num_steps: int = Field(default=200, ge=1)
    """The number of updates."""
    prompts_per_step: int = Field(default=32, ge=1)
    """The number of prompts, each with the data set's own answer, in one update."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """The optimizer of the fine-tuning."""
