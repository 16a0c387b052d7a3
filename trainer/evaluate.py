"""Exact match on held-out prompts, by greedy decoding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from adaswitch.tasks import Example, Task


@dataclass(frozen=True)
class EvalPrompts:
    """Held-out examples with their prompts in tokens, and how they are answered and marked."""

    task: Task
    examples: Sequence[Example]
    prompt_token_ids: Sequence[Sequence[int]]
    tokenizer: PreTrainedTokenizerBase
    stop_token_ids: Sequence[int]
    max_new_tokens: int
    batch_size: int


@torch.inference_mode()
def exact_match(
    model: PreTrainedModel, prompts: EvalPrompts, should_stop: Callable[[], bool] = lambda: False
) -> float | None:
    """The share of examples that are answered right; None if ``should_stop`` said so midway."""
    was_training = model.training
    model.eval()
    num_right = 0
    for start in range(0, len(prompts.examples), prompts.batch_size):
        if should_stop():
            return None
        stop = start + prompts.batch_size
        completions = _greedy(model, prompts.prompt_token_ids[start:stop], prompts)
        num_right += sum(
            prompts.task.mark(completion, example)
            for completion, example in zip(completions, prompts.examples[start:stop], strict=True)
        )
    model.train(was_training)
    return num_right / len(prompts.examples)


def _greedy(
    model: PreTrainedModel, prompt_token_ids: Sequence[Sequence[int]], prompts: EvalPrompts
) -> list[str]:
    width = max(len(ids) for ids in prompt_token_ids)
    pad = prompts.tokenizer.pad_token_id
    pad = prompts.stop_token_ids[0] if pad is None else pad
    input_ids = torch.tensor([[pad] * (width - len(ids)) + list(ids) for ids in prompt_token_ids])
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompt_token_ids])
    output = model.generate(  # type: ignore[operator]  # typed as a tensor in PreTrainedModel
        input_ids=input_ids.to(model.device),
        attention_mask=mask.to(model.device),
        do_sample=False,
        max_new_tokens=prompts.max_new_tokens,
        eos_token_id=list(prompts.stop_token_ids),
        pad_token_id=pad,
    )
    new: list[list[int]] = output[:, width:].tolist()
    decode = prompts.tokenizer.decode
    return [str(decode(_before_stop(ids, prompts.stop_token_ids), skip_special_tokens=True)) for ids in new]


def _before_stop(token_ids: list[int], stop_token_ids: Sequence[int]) -> list[int]:
    """Up to the first token that ends the completion, which is not part of the answer."""
    stops = [i for i, token in enumerate(token_ids) if token in stop_token_ids]
    return token_ids[: stops[0]] if stops else token_ids
