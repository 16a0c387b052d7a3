"""Settings of the trainer: the loss, the optimizer, and how often the trainer evaluates and saves checkpoints."""

from typing import Annotated, Literal

from pydantic import Field

from adaswitch.config.base import Settings
from adaswitch.config.threads import NumThreads
from adaswitch.method.learning_rate import OptimizerConfig
from adaswitch.method.losses import AnyLoss
from adaswitch.method.losses.forward_kl import ForwardKL
from adaswitch.method.low_rank import LoRA

KeptSteps = Annotated[int, Field(ge=1)]
"""The number of newest steps of which something is kept."""


class TrainerConfig(Settings):
    """The training job."""

    num_steps: int = Field(default=200, ge=1)
    """The number of updates in the whole run."""
    time_limit_s: float | None = Field(default=None, gt=0)
    """The number of seconds after which the run is complete, even if steps are left. Only the time of steps counts, not
    that of evaluations, and the step under way is finished. By default there is no limit."""
    prompts_per_step: int = Field(default=32, ge=1)
    """The number of rollouts in one update."""
    micro_batch_size: int = Field(default=32, ge=1)
    """The number of rollouts in one forward and backward pass. It changes memory and speed, but never the loss."""
    micro_batch_tokens: int | None = Field(default=None, ge=2)
    """The largest number of tokens, of prompts and completions, in one forward and backward pass. The rollouts of a
    micro-batch are then packed into one row without padding, in place of ``micro_batch_size`` rollouts that are padded
    to the longest. With completions of different lengths that saves most of the padding's time, and memory no longer
    depends on which rollouts meet. It must be at least the longest prompt and ``student.max_new_tokens``. A model that
    cannot be packed is found in the first step, and padded within as many tokens. By default rollouts are padded."""
    max_staleness: int = Field(default=0, ge=0)
    """The largest number of updates by which the weights that wrote a rollout may be older than the weights that the
    rollout trains. With 0 the run is strictly synchronous."""
    loss: AnyLoss = ForwardKL()
    """The loss of each completion token. The loss of a step is the mean over its tokens, weighted by who wrote each
    token."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """The optimizer, which turns the gradient into an update."""
    lora: LoRA | None = None
    """Train low-rank adapters alone, and leave the model's own weights as they are. That takes the memory of gradients
    and optimizer for a few hundredths of the weights, and as little travels to students, who merge the adapters with
    the weights of ``student.model``. A checkpoint holds the merged model, and the adapters in its folder ``adapter``.
    By default all weights are trained."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The number type of the forward and backward pass. The weights and the optimizer's state are always float32."""
    device: str = "auto"
    """The device that the trainer computes on. ``auto`` is a GPU if there is one, and the CPU otherwise."""
    num_threads: NumThreads = "auto"
    """The number of CPU threads of the trainer. ``auto`` is all cores that it may use in a synchronous run, and its
    share of them where rollouts may be stale. A small model has one thread."""
    num_ranks: int = Field(default=1, ge=1)
    """The number of processes, ranks, among which the trainer's weights, its optimizer and each step's rollouts are
    divided. With more than 1, each is an actor on the Ray cluster, with a GPU of its own where the trainer has GPUs.
    Held-out prompts are then answered by students (``eval_by``)."""
    rank_resources: dict[str, Annotated[float, Field(ge=0)]] | None = None
    """What Ray reserves for each rank, such as ``{GPU: 1, CPU: 4}``, or a resource of your own that only some nodes
    have. By default it is a CPU, and a GPU if the trainer computes on GPUs. With one rank it means nothing."""
    gradient_checkpointing: bool = False
    """Whether activations are computed again in the backward pass. That halves their memory and takes a third more
    time."""
    compile: bool = False
    """Whether ``torch.compile`` makes the layers' forward and backward pass faster. It takes a minute in the first
    step, so that it pays off in long runs. It needs a C++ compiler on CPUs, and Triton on GPUs. What the trainer writes
    in evaluations is computed without."""
    eval_every: int = Field(default=50, ge=0)
    """The number of steps between two evaluations on held-out prompts. The student is also evaluated before the first
    step and after the last. With 0 there is no evaluation."""
    eval_prompts: int = Field(default=500, ge=1)
    """The largest number of held-out prompts in an evaluation."""
    eval_batch_size: int = Field(default=128, ge=1)
    """The number of held-out prompts that are answered as one batch."""
    eval_by: Literal["trainer", "students"] = "trainer"
    """Who answers the held-out prompts. ``students`` write on their engines and devices, with the weights of the step
    that is evaluated, and with equal number types the answers are the same. A run that replays rollouts has none."""
    checkpoint_every: int = Field(default=100, ge=0)
    """The number of steps between two checkpoints. There is also a checkpoint at the end; with 0 it is the only one."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """The number of newest checkpoints that are kept. Older checkpoints are removed."""
    save_rollouts: bool | KeptSteps = True
    """Which rollouts are kept in the run directory, under ``rollouts/``: all with true, none with false, and with a
    number those of so many newest steps. ``adaswitch report`` says what they take on disk."""
    resume: bool = True
    """Whether the run goes on from the newest checkpoint in its run directory, if there is a checkpoint. With false, a
    name whose run directory holds a run already is refused."""
    rollout_timeout_s: float = Field(default=1800.0, gt=0)
    """The number of seconds that the trainer waits for the rollouts of a step before the run gives up."""
