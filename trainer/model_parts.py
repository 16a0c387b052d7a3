"""A causal language model as what makes hidden states, and the head that makes logits of them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

PROBED_LOGITS = 1000.0
"""The size of the largest logit in a comparison. Every soft cap is far below it."""
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
"""The largest difference of two outputs that are the same, as a share of the largest output."""


def base_of(model: PreTrainedModel) -> nn.Module:
    """The part of ``model`` that makes hidden states: all but its head."""
    base: nn.Module = model.base_model
    return base


@torch.no_grad()
def head_of(model: PreTrainedModel, token_ids: Tensor) -> nn.Linear | None:
    """The layer whose outputs for ``base_of``'s hidden states are the model's logits, or None if there is none.

    The two ways to the logits are compared on ``token_ids [1, m]``. The head is made to see inputs so large that a soft
    cap on its outputs, or a scale, cannot hide.
    """
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear or base_of(model) is model:
        return None
    seen: list[Tensor] = []

    def enlarge(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Note what the head is given, and give it the same, but larger."""
        given = inputs[0]
        largest = functional.linear(given, head.weight.to(given.dtype)).abs().max().float()
        factor = PROBED_LOGITS / largest.clamp_min(1e-30)
        seen.extend((given, given * factor.to(given.dtype)))
        return (seen[1], *inputs[1:])

    handle = head.register_forward_pre_hook(enlarge)
    try:
        logits = model(input_ids=token_ids, use_cache=False).logits
    finally:
        handle.remove()
    if len(seen) != 2:
        return None
    hidden = getattr(base_of(model)(input_ids=token_ids, use_cache=False), "last_hidden_state", None)
    projected = functional.linear(seen[1], head.weight, head.bias)
    same = hidden is not None and are_same(hidden, seen[0]) and are_same(logits, projected)
    return head if same else None


def are_same(one: Tensor, other: Tensor) -> bool:
    """Whether two outputs of the same shape differ by no more than rounding. Nothing is the same as a NaN."""
    if one.shape != other.shape:
        return False
    tolerance = max(TOLERANCE[one.dtype], TOLERANCE[other.dtype])
    difference, largest = (one.float() - other.float()).abs().max(), other.float().abs().max()
    return bool(difference <= tolerance * largest)


def why_never_packed(model: PreTrainedModel, max_tokens: int) -> str | None:
    """Why rows of ``max_tokens`` are wrong whatever a comparison of short ones says; None if nothing is known.

    Attention in chunks counts its chunks from the start of a row, and not from the start of each text in it.
    """
    chunk = getattr(model.config.get_text_config(), "attention_chunk_size", None)
    if chunk is not None and chunk < max_tokens:
        return f"its attention is in chunks of {chunk} tokens, counted from the start of a row"
    return None
