"""Settings of the tasks: where prompts come from and how an answer is marked. One class a ``kind``."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from adaswitch.config.base import Settings


class DataSource(Settings):
    """Where records come from: a local JSON-lines file, or a data set of the Hugging Face hub by name."""

    path: str | None = None
    """A local ``.jsonl`` file, one object a line."""
    hub: str | None = None
    """A data set's name on the hub, as in ``openai/gsm8k``."""
    subset: str | None = None
    """The hub data set's configuration, as in ``main``."""
    split: str = "train"
    """The hub data set's split."""
    limit: int | None = Field(default=None, ge=1)
    """Only the first so many records."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("set exactly one of path (a local file) and hub (a data set's name)")
        return self


class ChainTaskConfig(Settings):
    """Chain arithmetic, generated: ``3+5*7-2=`` is worked out left to right, modulo 10."""

    kind: Literal["chain"] = "chain"
    num_train: int = Field(default=2000, ge=1)
    """How many different training prompts there are."""
    num_eval: int = Field(default=500, ge=1)
    """How many held-out prompts there are; none of them is a training prompt."""
    min_operations: int = Field(default=4, ge=1)
    """Fewest in a prompt."""
    max_operations: int = Field(default=7, ge=1)
    """Most in a prompt."""
    seed: int = Field(default=0, ge=0)
    """Fixes which prompts are drawn."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_operations > self.max_operations:
            raise ValueError("min_operations must not exceed max_operations")
        return self


class Gsm8kTaskConfig(Settings):
    """Grade-school maths word problems (GSM8K): the number after ``####`` is the answer."""

    kind: Literal["gsm8k"] = "gsm8k"
    train: DataSource
    """The training prompts."""
    eval: DataSource | None = None
    """The held-out prompts; without them nothing is evaluated."""
    chat_template: bool = True
    """Whether the question is wrapped as a user message by the tokenizer's chat template."""
    prompt_suffix: str = ""
    """Appended to every question."""


class JsonlTaskConfig(Settings):
    """Anyone's own data: one JSON object a line."""

    kind: Literal["jsonl"] = "jsonl"
    train: DataSource
    """The training prompts."""
    eval: DataSource | None = None
    """The held-out prompts; without them nothing is evaluated."""
    prompt_field: str = "prompt"
    """The key of the prompt in each object."""
    reference_field: str = "reference"
    """The key of the right answer in each object."""
    chat_template: bool = False
    """Whether the prompt is wrapped as a user message by the tokenizer's chat template."""
    answer_regex: str | None = None
    """Group 1 of the last match is the answer; without it the whole text is."""


TaskConfig = Annotated[ChainTaskConfig | Gsm8kTaskConfig | JsonlTaskConfig, Field(discriminator="kind")]
