"""Drawing tokens, so that a rollout depends on the run's seed and the prompt's id alone.

Each position of a completion has one uniform number that was fixed before anything is written. A token is the
place where that number falls in the cumulative distribution. So neither time, nor the order of requests, nor
where a chunk ends can change what is drawn.
"""

import hashlib
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def position_uniforms(seed: int, prompt_id: int, num_positions: int) -> NDArray[np.float64]:
    """The uniform numbers ``[num_positions]`` in [0, 1) of one prompt's completion.

    A longer call begins with the same numbers as a shorter one.
    """
    return np.random.Generator(np.random.Philox(key=[seed, prompt_id])).random(num_positions)


def prompt_coin(seed: int, prompt_id: int) -> float:
    """One uniform number in [0, 1) a prompt, for what is drawn once a rollout: apart from all its positions'."""
    digest = hashlib.sha256(f"adaswitch coin {seed} {prompt_id}".encode()).digest()
    return (int.from_bytes(digest[:8], "little") >> 11) / 2**53


def switch_place(probabilities: Sequence[float], coin: float) -> int | None:
    """Place i with ``probabilities[i]``, by a ``coin`` in [0, 1); None with what they leave over to 1."""
    for place, below in enumerate(accumulate(probabilities)):
        if coin < below:
            return place
    return None


def teacher_seed(seed: int, prompt_id: int, position: int) -> int:
    """The seed (63 bits) that the teacher continues this prompt's completion with, from ``position`` on."""
    digest = hashlib.sha256(f"adaswitch teacher {seed} {prompt_id} {position}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def draw(logprobs: Tensor, uniforms: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
    """One token id a row ``[b]`` int64, from ``logprobs [b, V]`` (or logits) and ``uniforms [b]``.

    Temperature 0 takes the most likely. ``top_p`` below 1 keeps the smallest set of most likely tokens whose
    probability reaches it.
    """
    if temperature == 0:
        return logprobs.argmax(-1)
    probabilities = (logprobs.double() / temperature).softmax(-1)
    if top_p < 1:
        probabilities = _nucleus(probabilities, top_p)
    cumulative = probabilities.cumsum(-1)
    # Scaled by the last entry, so that rounding in the sum can never leave a gap at the top.
    targets = uniforms.double().unsqueeze(-1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, targets, right=True).squeeze(-1).clamp_max(logprobs.shape[-1] - 1)


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    falling, order = probabilities.sort(-1, descending=True)
    before = falling.cumsum(-1) - falling
    return torch.zeros_like(probabilities).scatter(-1, order, falling * (before < top_p))
