"""How tokens are drawn, so that all randomness of a rollout follows from the run's seed and the prompt's id alone.

Each position of a completion has one uniform number, which is fixed before anything is written. The token is found
where that number falls in the cumulative distribution. So neither time, nor the order of requests, nor the end of a
chunk can change which token is drawn.
"""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def position_uniforms(seed: int, prompt_id: int, num_positions: int) -> NDArray[np.float64]:
    """The uniform numbers ``[num_positions]`` in [0, 1) of one prompt's completion.

    A larger ``num_positions`` only adds numbers at the end.
    """
    return np.random.Generator(np.random.Philox(key=[seed, prompt_id])).random(num_positions)


def teacher_seed(seed: int, prompt_id: int, position: int) -> int:
    """The seed (63 bits) with which the teacher continues this prompt's completion from ``position`` on."""
    digest = hashlib.sha256(f"adaswitch teacher {seed} {prompt_id} {position}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def draw(logprobs: Tensor, uniforms: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
    """One token id for each row, ``[b]`` int64, from ``logprobs [b, V]`` (or logits) and ``uniforms [b]``.

    Temperature 0 takes the most likely token. ``top_p`` below 1 keeps the smallest set of most likely tokens whose
    total probability reaches ``top_p``.
    """
    if temperature == 0:
        return logprobs.argmax(-1)
    probabilities = (logprobs.double() / temperature).softmax(-1)
    if top_p < 1:
        probabilities = _nucleus(probabilities, top_p)
    cumulative = probabilities.cumsum(-1)
    # Because of rounding, the sum may end below 1. Scaling by the last entry leaves no gap at the top.
    targets = uniforms.double().unsqueeze(-1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, targets, right=True).squeeze(-1).clamp_max(logprobs.shape[-1] - 1)


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    falling, order = probabilities.sort(-1, descending=True)
    before = falling.cumsum(-1) - falling
    return torch.zeros_like(probabilities).scatter(-1, order, falling * (before < top_p))
