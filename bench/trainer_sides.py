"""The sides of ``bench.trainer``: a training step on ragged rollouts, and a loss from hidden states."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from adaswitch.config.trainer import TrainerConfig
from adaswitch.method.batching import make_batch
from adaswitch.method.distribution import top_k
from adaswitch.method.losses.forward_kl import ForwardKL
from adaswitch.method.projection import Head, projected_share
from adaswitch.method.prompt import Prompt
from adaswitch.method.rollout import Ending, Rollout
from adaswitch.method.step_loss import loss_share
from trainer.learner import Learner

VOCAB_SIZE, RAGGED_VOCAB, WIDTH, NUM_ROWS, K = 49_152, 4_096, 576, 1_024, 64
LENGTHS = np.geomspace(8, 512, 16).round().astype(int).tolist()
MAX_TOKENS = 1_024


def measure(side: str) -> tuple[float, float]:
    """CPU seconds of a side, and by how many MiB its memory grew at most."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return measured(_step(side == "packed") if side in ("packed", "padded") else _loss(side == "pieces"))


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds of ``work``, and the largest growth of this process's memory meanwhile, in MiB."""
    before, peak, over = _resident_mib(), [0.0], threading.Event()

    def watch() -> None:
        """Look at the memory every few milliseconds."""
        while not over.wait(0.005):
            peak[0] = max(peak[0], _resident_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.process_time()
    work()
    seconds = time.process_time() - started
    peak[0] = max(peak[0], _resident_mib())
    over.set()
    watcher.join()
    return seconds, peak[0] - before


def _resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * 4096 / 2**20


def rollout(number: int, num_prompt: int, num_tokens: int, vocab_size: int) -> Rollout:
    """A random rollout of the student's, with a random teacher of ``K`` candidates."""
    draw = np.random.default_rng(number)
    tokens = draw.integers(3, vocab_size, num_prompt + num_tokens).tolist()
    # Few rows that are repeated: their content does not matter, and drawing them all would take longer than the step.
    generator = torch.Generator().manual_seed(number)
    teacher = top_k(torch.randn(8, vocab_size, generator=generator).log_softmax(-1), K)
    rows = torch.arange(num_tokens) % 8
    return Rollout(
        prompt=Prompt(number, tuple(tokens[:num_prompt])),
        completion_token_ids=tuple(tokens[num_prompt:]),
        by_teacher=np.zeros(num_tokens, dtype=np.bool_),
        teacher=type(teacher)(teacher.ids[rows], teacher.logprobs[rows], vocab_size),
        divergences=(),
        thresholds=(),
        ending=Ending.LENGTH,
        weights_version=0,
    )


def _step(packed: bool) -> Callable[[], object]:
    """A second step, so that nothing is looked at or allocated first."""
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=RAGGED_VOCAB,
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=6,
            num_attention_heads=4,
            max_position_embeddings=1024,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    sizes = {"micro_batch_tokens": MAX_TOKENS} if packed else {"micro_batch_size": 4}
    learner = Learner(model, TrainerConfig.model_validate(sizes), "cpu")
    order = np.random.default_rng(0).permutation(LENGTHS).tolist()
    step = [rollout(i, 32, length, RAGGED_VOCAB) for i, length in enumerate(order)]
    learner.update(step, 0)
    return lambda: learner.update(step, 1)


def _loss(in_pieces: bool) -> Callable[[], object]:
    batch, loss = make_batch([rollout(0, 1, NUM_ROWS, VOCAB_SIZE)]), ForwardKL()
    hidden = torch.randn(NUM_ROWS, WIDTH).requires_grad_()
    weight = (torch.randn(VOCAB_SIZE, WIDTH) * 0.05).requires_grad_()

    def work() -> None:
        """Loss and gradients."""
        if in_pieces:
            share, _ = projected_share(loss, batch, hidden, Head(weight), float(NUM_ROWS))
        else:
            losses = loss.token_losses(batch, functional.linear(hidden, weight))
            share = loss_share(losses, batch.weights, float(NUM_ROWS))
        share.backward()

    return work
