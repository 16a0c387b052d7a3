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
    extra_splits: list[Literal["longer", "multiply"]] = Field(default_factory=list)
    """Harder held-out prompts, ``num_eval`` of each: 1 to 3 operations more than ``max_operations``, and
    prompts whose operators are ``*`` for at least a half."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_operations > self.max_operations:
            raise ValueError("min_operations must not exceed max_operations")
        return self


class RecordSettings(Settings):
    """What every task has whose examples are records of a data file or data set."""

    train: DataSource
    """The training prompts."""
    eval: DataSource | None = None
    """The held-out prompts; without them nothing is evaluated."""


class ChatSettings(RecordSettings):
    """What the public data sets' tasks have."""

    chat_template: bool = True
    """Whether the prompt is wrapped as a user message by the tokenizer's chat template."""
    prompt_suffix: str = ""
    """Appended to every prompt."""


class Gsm8kTaskConfig(ChatSettings):
    """Grade-school maths word problems (GSM8K): the number after ``####`` is the answer."""

    kind: Literal["gsm8k"] = "gsm8k"


class GsmPlusTaskConfig(ChatSettings):
    """GSM8K altered in eight ways (GSM-Plus), reported for each of them; trained on GSM8K or on GSM-Plus."""

    kind: Literal["gsm_plus"] = "gsm_plus"


class DialogsumTaskConfig(ChatSettings):
    """Summaries of everyday dialogues (DialogSum), marked by ROUGE."""

    kind: Literal["dialogsum"] = "dialogsum"
    prompt_prefix: str = "Summarize the following dialogue.\n\n"
    """Put before every dialogue."""


class JsonlTaskConfig(RecordSettings):
    """Anyone's own data: one JSON object a line."""

    kind: Literal["jsonl"] = "jsonl"
    prompt_field: str = "prompt"
    """The key of the prompt in each object."""
    reference_field: str = "reference"
    """The key of the right answer in each object: a string, or a list of several right answers."""
    chat_template: bool = False
    """Whether the prompt is wrapped as a user message by the tokenizer's chat template."""
    answer_regex: str | None = None
    """Group 1 of the last match is the answer; without it the whole text is. For ``exact_match`` only."""
    metric: str = Field(default="exact_match", pattern=r"^(exact_match|rouge|[\w.]+:\w+)$")
    """``exact_match``, ``rouge``, or a function of one's own as ``module:function``: it is called with the
    completion and the record, and gives a number from 0 to 1."""

    @model_validator(mode="after")
    def _pattern_is_used(self) -> Self:
        if self.answer_regex is not None and self.metric != "exact_match":
            raise ValueError(f"answer_regex is for the metric exact_match; with {self.metric} leave it out")
        return self


RecordTaskConfig = Gsm8kTaskConfig | GsmPlusTaskConfig | DialogsumTaskConfig | JsonlTaskConfig
"""The tasks whose examples are records of a data file or data set."""

TaskConfig = Annotated[ChainTaskConfig | RecordTaskConfig, Field(discriminator="kind")]
