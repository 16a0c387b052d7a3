"""Settings of the student."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from adaswitch.config.base import Settings
from adaswitch.config.threads import NumThreads


class StudentConfig(Settings):
    """The student: its model, and how the actors write completions with the model."""

    model: str
    """The model that training starts from: a Hugging Face model folder, or a name on the hub."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """The number type of the actors' copies of the model. The trainer's copy has its own, ``trainer.dtype``."""
    engine: Literal["auto", "transformers", "vllm"] = "auto"
    """The library that writes with the model. ``auto`` takes vLLM where it is installed if the student has 30 million
    parameters or more, or a GPU, and transformers otherwise, or if vLLM cannot run the model. In one process with the
    trainer it takes transformers."""
    device: str = "auto"
    """The device that an actor computes on. ``auto`` is a GPU if Ray gave the actor one, and the CPU otherwise."""
    num_actors: int = Field(default=1, ge=1)
    """The number of Ray actors that write at the same time, each with its own copy of the model."""
    num_gpus_per_actor: float = Field(default=0.0, ge=0)
    """The number of GPUs that Ray reserves for each actor. With a fraction, several actors share a GPU."""
    num_threads: NumThreads = "auto"
    """The number of CPU threads of each actor. ``auto`` is the actor's share of the cores of its node in a synchronous
    run. Where rollouts may be stale, trainer and teacher have a share as well. A small model has one thread."""
    kv_cache_gib: float = Field(default=1.0, gt=0)
    """The memory for the key-value cache of vLLM in each actor on CPU, in GiB."""
    kv_block_size: int | None = Field(default=None, ge=1)
    """The number of tokens in a block of vLLM's key-value cache. Only whole blocks of the cache can be reused, so a
    block should be no longer than ``policy.chunk_size``, or little longer. The default is 32 on CPU, and vLLM's own on
    GPUs."""
    gpu_memory_utilization: float = Field(default=0.3, gt=0, le=1)
    """The share of a GPU's memory that vLLM may take in each actor."""
    enforce_eager: bool | None = None
    """Whether vLLM runs without compilation, which starts faster and runs slower. The default is true on CPU and false
    on GPUs."""
    group_size: int = Field(default=16, ge=1)
    """The number of prompts that an actor leases together. In lockstep it decodes them as one batch."""
    num_groups: int = Field(default=2, ge=1)
    """The number of groups of prompts that an actor works on at once. While one group waits for the teacher, the
    student writes for another group. Without lockstep, ``num_groups`` times ``group_size`` prompts are under way, and
    the next prompt begins wherever one has ended."""
    lockstep: Literal[True, False, "auto"] = "auto"
    """Whether the prompts of a group go on together: when all wait, all are answered. Then batches follow from the
    prompts and never from timing, which a run needs to be repeated or resumed bit for bit: the last bits of a model's
    numbers depend on the batch, and with them the scores, the loss and, where two tokens are all but level, what the
    teacher writes. It takes the engine ``transformers`` for student and teacher, as vLLM batches by arrival. Without
    lockstep each prompt goes on as soon as its own answer is there. ``auto`` is true for the student's engine
    ``transformers``, which writes whole batches and refuses false, and false for one that batches by itself."""
    gather_window_s: float = Field(default=0.005, ge=0, le=10)
    """Without lockstep: the number of seconds for which a request to the teacher waits for others to be sent along."""
    gather_requests: int = Field(default=32, ge=1)
    """Without lockstep: once this number of requests to the teacher waits, they are sent at once."""
    temperature: float = Field(default=1.0, ge=0, le=100)
    """The sampling temperature at which the student writes. At 0 the student decodes greedily."""
    max_new_tokens: int = Field(default=128, ge=1)
    """The largest number of tokens in a completion, no matter who writes them."""
    stop_token_ids: list[Annotated[int, Field(ge=0)]] | None = Field(default=None, min_length=1)
    """The tokens that end a completion, no matter who writes it. By default they are all tokens that end one by the
    files of the student and of the teacher: ``generation_config.json``, ``config.json``, the tokenizer's end of
    sequence, and the end of a turn in the chat template. A run's own ``config.yaml`` names those that were found."""

    @model_validator(mode="after")
    def _lockstep_of_whole_batches(self) -> Self:
        if self.engine == "transformers" and self.lockstep is False:
            raise ValueError(
                "lockstep false needs an engine that batches by itself, and transformers writes whole batches: leave "
                "lockstep out, or take engine vllm"
            )
        return self
