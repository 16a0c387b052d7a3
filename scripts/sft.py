"""What the model-making scripts share: batches of prompt and completion, a training loop, a score.

Shapes: B sequences, T tokens of the longest sequence, N completion tokens in all, H hidden size, V vocabulary.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from rich.console import Console
from torch.nn import functional as F
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase, get_scheduler

from adaswitch.data.datasets import encode_prompt, encode_reference
from adaswitch.errors import NonFiniteError
from adaswitch.evaluation.evaluation import EvalPrompts, evaluate
from adaswitch.evaluation.transformers_writer import TransformersWriter
from adaswitch.processes.progress import ShownProgress
from adaswitch.tasks.base import Example, Task

IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """Sequences padded on the right.

    A prompt ``[1, 5]`` with the completion ``[7, 2]``, in a batch with a sequence that is one token longer, becomes
    ``input_ids [1, 5, 7, 2, 0]``, ``attention_mask [1, 1, 1, 1, 0]``, ``labels [-100, -100, 7, 2, -100]``.
    """

    input_ids_BT: torch.Tensor
    attention_mask_BT: torch.Tensor
    labels_BT: torch.Tensor
    """The token itself at each position of a completion, not yet shifted; -100 in prompts and padding."""


def make_batch(
    tokenizer: PreTrainedTokenizerBase, task: Task, examples: Sequence[Example], max_tokens: int
) -> Batch:
    """Prompts and reference completions of ``examples``, each sequence cut after ``max_tokens``."""
    rows: list[tuple[list[int], list[int]]] = []
    for example in examples:
        prompt = encode_prompt(tokenizer, task, example)
        completion = encode_reference(tokenizer, example)
        labels = [IGNORED] * len(prompt) + completion
        rows.append(((prompt + completion)[:max_tokens], labels[:max_tokens]))
    return Batch(
        input_ids_BT=_padded([ids for ids, _ in rows], 0),
        attention_mask_BT=_padded([[1] * len(ids) for ids, _ in rows], 0),
        labels_BT=_padded([labels for _, labels in rows], IGNORED),
    )


def _padded(rows: Sequence[Sequence[int]], padding: int) -> torch.Tensor:
    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=padding)


def completion_logits(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """The logits ``[N, V]`` that predict the N completion tokens of ``batch``, sequence after sequence.

    The output head is applied at no other position, as with a large vocabulary it is most of the work.
    """
    hidden_BTH = model.model(
        input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT
    ).last_hidden_state
    # The hidden state at a position predicts the token at the next position.
    hidden_NH = hidden_BTH[:, :-1][batch.labels_BT[:, 1:] != IGNORED]
    logits_NV: torch.Tensor = model.lm_head(hidden_NH)
    return logits_NV


def cross_entropy(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Mean negative log-probability of the completion tokens, in nats."""
    labels_BT = batch.labels_BT[:, 1:]
    return F.cross_entropy(completion_logits(model, batch), labels_BT[labels_BT != IGNORED])


def train(
    model: LlamaForCausalLM,
    batches: Iterable[Batch],
    loss_of: Callable[[Batch], torch.Tensor],
    *,
    num_steps: int,
    learning_rate: float,
    schedule: Literal["cosine", "constant_with_warmup"],
    title: str,
) -> None:
    """Take a step of AdamW on each of ``num_steps`` batches. The learning rate warms up over the first tenth of them.

    Raises ``NonFiniteError`` if ``loss_of`` gives a NaN or an infinity.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    scheduler = get_scheduler(schedule, optimizer, max(1, num_steps // 10), num_steps)
    model.train()
    with ShownProgress(Console()) as progress:
        part = progress.part(title, num_steps)
        for batch in batches:
            loss = loss_of(batch)
            if not loss.isfinite():
                raise NonFiniteError(f"{title}: the loss is {loss.item()}; has a batch no completion tokens?")
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            part.advance(1, f"loss {loss.item():.3f}")
    model.eval()


def held_out_score(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    examples: Sequence[Example],
    max_new_tokens: int,
) -> float:
    """The share of ``examples`` whose greedy completion ``task`` marks as right."""
    evaluation = evaluate(
        TransformersWriter(model),
        EvalPrompts(
            task=task,
            examples=examples,
            prompt_token_ids=[encode_prompt(tokenizer, task, example) for example in examples],
            tokenizer=tokenizer,
            stop_token_ids=[tokenizer.eos_token_id],
            max_new_tokens=max_new_tokens,
            batch_size=125,
        ),
    )
    assert evaluation is not None, "nobody asked it to stop"
    score = evaluation.main.value
    assert score is not None, "every example has a reference"
    return score
