"""The sides of ``bench.trainer``: steps of training, a loss from hidden states, and what adapters leave of both."""

import resource
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
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
PROMPT_TOKENS, COMPLETION_TOKENS, BATCH = 32, 128, 16


def measure(side: str) -> dict[str, float]:
    """The figures of a side: CPU seconds, memory in MiB, or tokens a second."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if side in ("packed", "padded"):
        return measured(_step(side == "packed"))
    if side in ("pieces", "whole"):
        return measured(_loss(side == "pieces"))
    if side == "full":
        figures = measured(_full_step())
        return {**figures, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    if side in ("compiled", "not compiled"):
        return measured(_full_step(compile=side == "compiled"))
    if side in ("1 rank", "2 ranks"):
        from bench.trainer_ranks import pace

        return {"tokens_per_s": pace(2 if side == "2 ranks" else 1)}
    return _memory_of_training({"rank": 16} if side == "adapters" else None)


def measured(work: Callable[[], object]) -> dict[str, float]:
    """``cpu_s`` of ``work``, and ``growth_mib``, the largest growth of this process's memory meanwhile."""
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
    return {"cpu_s": seconds, "growth_mib": peak[0] - before}


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


def llama(vocab_size: int, width: int, num_layers: int, num_heads: int) -> LlamaForCausalLM:
    """A model of Llama shapes with random weights, and a head that is tied to its embedding."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def student() -> LlamaForCausalLM:
    """The student of 31M parameters with V = 49,152."""
    return llama(VOCAB_SIZE, width=384, num_layers=5, num_heads=6)


def full_batch() -> list[Rollout]:
    """16 rollouts of 32 + 128 tokens."""
    return [rollout(i, PROMPT_TOKENS, COMPLETION_TOKENS, VOCAB_SIZE) for i in range(BATCH)]


def _full_step(**settings: bool) -> Callable[[], object]:
    """A second step on a full batch, in one micro-batch."""
    learner = Learner(student(), TrainerConfig.model_validate(settings), "cpu")
    learner.update(full_batch(), 0)
    return lambda: learner.update(full_batch(), 1)


def _memory_of_training(lora: dict[str, int] | None) -> dict[str, float]:
    """MiB of gradients and optimizer's state after a step of a student of 81M, and MiB that go to the board."""
    with tempfile.TemporaryDirectory() as folder:
        llama(VOCAB_SIZE, width=576, num_layers=12, num_heads=9).save_pretrained(folder)
        learner = Learner.from_folder(folder, TrainerConfig.model_validate({"lora": lora}), "cpu")
    learner.update([rollout(0, 8, 8, VOCAB_SIZE)], 0)
    gradients = [each.grad for each in learner.model.parameters() if each.grad is not None]
    states = [value for state in learner.optimizer.state.values() for value in state.values()]
    return {
        "trained_mib": _mib([*gradients, *states]),
        "board_mib": _mib(list(learner.weights().values())),
    }


def _mib(tensors: Sequence[torch.Tensor]) -> float:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20


def _step(packed: bool) -> Callable[[], object]:
    """A second step, so that nothing is looked at or allocated first."""
    model = llama(RAGGED_VOCAB, width=256, num_layers=6, num_heads=4)
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
