"""The hours of a recipe on a kind of GPU: paces from arithmetic, put into the model of ``bench.scaling_model``.

No GPU of these kinds was at hand, so a pace is what the GPU can do at most times the share of it that public figures
of such programs come to. An estimate may be off by a factor of two, and more for methods of many small requests.
"""

from dataclasses import dataclass

from adaswitch.config.run import RunConfig
from bench.recipes.memory import GIB
from bench.recipes.shapes import BFLOAT16, Shape, pair_of
from bench.recipes.tokens import Lengths, work_of
from bench.scaling_model import Fleet, Paces, synchronous_step_s

COMPUTE_SHARE = 0.4
"""Of the GPU's operations a second, what prefill and training come to."""
BANDWIDTH_SHARE = 0.6
"""Of the memory's bytes a second, what decoding comes to."""
STEP_S = 0.008
"""Seconds of a step of vLLM beside the model: scheduling, drawing, keeping what the scores ask for."""
PLAIN_STEP_S = 0.03
"""Seconds of a step of transformers' own decoding, whatever the model: the trainer's evaluations are made with it."""
AT_WORK = 0.5
"""The share of the prompts of a step that is being written, in the mean: the longest go on when others have ended."""
FORWARD, TRAINING = 2, 8
"""Operations for each weight and token: a forward pass, and all of training with activations computed again."""
QUEUE_PACE = 1_200.0
"""Rollouts a second (docs/scaling.md)."""
PUBLISH_S_A_GIB = 0.5
"""Seconds for a GiB of weights, to the board, and into the student's model (docs/scaling.md)."""
START_S = 240.0
"""Seconds until teacher, Ray and students are ready (docs/gpu.md), and to end."""


@dataclass(frozen=True)
class GPU:
    """One GPU as its data sheet has it."""

    name: str
    flops: float
    """Operations a second in bfloat16, dense."""
    bandwidth: float
    """Bytes a second."""


GPUS = (GPU("A100 80 GB", 312e12, 2.0e12), GPU("H100 80 GB", 989e12, 3.35e12))


def decoding_pace(shape: Shape, gpu: GPU, batch: float, num_tokens: float) -> float:
    """Tokens a second of a model that writes ``batch`` texts of ``num_tokens`` at once, each step bound by memory."""
    read = shape.num_weights * BFLOAT16 + batch * num_tokens * shape.cache_bytes
    return batch / (read / (gpu.bandwidth * BANDWIDTH_SHARE) + STEP_S)


def paces_of(config: RunConfig, lengths: Lengths, gpu: GPU) -> Paces:
    """The pace of each part of a run of ``config`` by itself, on one ``gpu``."""
    teacher, student = pair_of(config)
    batch = AT_WORK * config.trainer.prompts_per_step
    num_tokens = lengths.prompt + lengths.completion
    return Paces(
        student=decoding_pace(student, gpu, batch, num_tokens),
        scoring=gpu.flops * COMPUTE_SHARE / (FORWARD * teacher.num_weights),
        teacher=decoding_pace(teacher, gpu, batch, num_tokens),
        trainer=gpu.flops * COMPUTE_SHARE / (TRAINING * student.num_weights),
        queue=QUEUE_PACE,
    )


def hours_of(config: RunConfig, lengths: Lengths, gpu: GPU) -> float:
    """The hours of a run of ``config``, with its evaluations."""
    trainer, (_, student) = config.trainer, pair_of(config)
    published_gib = student.num_weights * BFLOAT16 / GIB if config.policy.needs_students else 0.0
    paces = paces_of(config, lengths, gpu)
    step_s = synchronous_step_s(
        work_of(config.policy, lengths),
        paces,
        Fleet(),
        trainer.prompts_per_step,
        published_gib * PUBLISH_S_A_GIB,
    )
    num_evaluations = 1 + -(-trainer.num_steps // trainer.eval_every)
    if trainer.eval_by == "students":
        eval_s = trainer.eval_prompts * lengths.completion / paces.student
    else:
        num_batches = -(-trainer.eval_prompts // trainer.eval_batch_size)
        eval_s = num_batches * config.student.max_new_tokens * PLAIN_STEP_S
    return (trainer.num_steps * step_s + num_evaluations * eval_s + START_S) / 3600
