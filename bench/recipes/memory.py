"""The memory of a recipe's parts on GPUs, from the models' sizes. All figures are in GiB, and estimates."""

from dataclasses import dataclass

from adaswitch.config.run import RunConfig
from bench.recipes.shapes import BFLOAT16, Shape, pair_of
from bench.recipes.tokens import Lengths

GIB = 2**30
FLOAT32 = 4
TRAINED_BYTES = 16
"""Of each weight in the trainer: the weight, its gradient and AdamW's two means, all float32."""
CAST_BYTES = 2
"""Of each weight in the trainer, while it computes: the copy in bfloat16."""
GRAPHS_GIB = 3.0
"""What vLLM takes beside weights and cache: CUDA graphs, activations, its process."""
TRAINER_GIB = 2.0
"""What the trainer takes beside weights and activations: its process, a piece of logits."""
RECOMPUTED = 34
"""Numbers as wide as the model that a layer keeps for one token's backward pass, apart from its feed-forward part
(the figure of arXiv 2205.05198, in which attention's own matrix is computed again)."""


@dataclass(frozen=True)
class Memory:
    """What each part of a recipe takes, in GiB."""

    teacher: float
    student: float
    trainer: float


def memory_of(config: RunConfig, lengths: Lengths) -> Memory:
    """The memory of a run of ``config``, whose prompts and completions have the mean ``lengths``."""
    teacher, student = pair_of(config)
    num_under_way = config.student.group_size * config.student.num_groups * config.student.num_actors
    num_cached = num_under_way * (lengths.prompt + lengths.completion)
    assert config.trainer.micro_batch_tokens is not None, "a recipe packs its micro-batches"
    return Memory(
        teacher=served_gib(teacher, num_cached),
        student=served_gib(student, num_cached),
        trainer=trained_gib(student, config.trainer.micro_batch_tokens),
    )


def served_gib(shape: Shape, num_cached: int) -> float:
    """A model on vLLM in bfloat16, with the keys and values of ``num_cached`` tokens."""
    return (shape.num_weights * BFLOAT16 + num_cached * shape.cache_bytes) / GIB + GRAPHS_GIB


def trained_gib(shape: Shape, num_tokens: int) -> float:
    """The trainer with micro-batches of ``num_tokens``, if activations are computed again layer by layer."""
    weights = shape.num_weights * (TRAINED_BYTES + CAST_BYTES)
    between_layers = num_tokens * shape.num_layers * shape.hidden_size * FLOAT32
    in_a_layer = num_tokens * (RECOMPUTED * shape.hidden_size + 3 * shape.intermediate_size * FLOAT32)
    return (weights + between_layers + in_a_layer) / GIB + TRAINER_GIB
