"""How tokens are drawn, so that all randomness of a rollout follows from the run's seed and the prompt's id alone.

A token is the argmax of its log-probability at the temperature and a Gumbel noise of its own, -log(-log(uniform)). Such
a token is distributed as the softmax (Maddison, Tarlow and Minka, "A* Sampling", arXiv 1411.0030, section 2). The noise
belongs to the seed, the prompt, the position and the token's id, and is fixed before anything is written. So neither
time, nor the order of requests, nor the end of a chunk can change which token is drawn. Rounding can change it only if
two tokens are all but level. With one uniform number that is looked up in the cumulative distribution, it can at the
bounds of every token, and an error of 1e-5 in the logits changes one token in 500.

The uniform numbers are those of Philox (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011), in NumPy's implementation. It is a generator by counter: the numbers of a position are found without those of
the positions before it. NumPy guarantees that the raw numbers never change. Its compiled code takes a quarter of the
time of a simpler hash in tensor operations. It computes on the CPU, from where the noise goes to a GPU. The noise does
not depend on the logits, so a GPU can compute them meanwhile.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PIECE = 2**14
"""The number of values that are worked on at once. They fit a core's cache, and are too few for torch to divide among
threads, which would cost more than it saves."""


class Place(NamedTuple):
    """What the noise of a draw belongs to. All three are whole numbers from 0 to 2**64 - 1."""

    seed: int
    prompt_id: int
    position: int
    """The token's place in the completion, counted from 0."""


def teacher_seed(seed: int, prompt_id: int, position: int) -> int:
    """The seed (63 bits) with which the teacher continues this prompt's completion from ``position`` on."""
    digest = hashlib.sha256(f"adaswitch teacher {seed} {prompt_id} {position}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def gumbel_noise(places: Sequence[Place], num_ids: int) -> Tensor:
    """The noise ``[b, num_ids]`` in float32 of the tokens 0, 1, .. at each of b ``places``.

    A row depends on its place alone, and more ids only add numbers at its end.
    """
    words = _random_words(places, num_ids)
    noise = torch.from_numpy(words.astype(np.float32))
    for piece in noise.view(-1).split(PIECE):
        # A token is drawn for a small -log(1 - u), where float32 is finest. The largest u would be rounded to 1.
        piece.add_(0.5).mul_(2.0**-32).clamp_max_(1 - 2.0**-24)
        piece.neg_().log1p_().neg_().log_().neg_()
    return noise


def _random_words(places: Sequence[Place], num_words: int) -> NDArray[np.uint32]:
    """Philox's random numbers ``[b, num_words]``, each a word of 32 bits."""
    pairs = np.empty((len(places), (num_words + 1) // 2), dtype="<u8")
    generator = np.random.Philox(key=0)
    at = generator.state  # one generator is moved from place to place: making one takes four times as long
    for row, place in zip(pairs, places, strict=True):
        # The prompt is part of the key, and the position is the counter's highest word: no two places share a number.
        key = np.array([place.seed, place.prompt_id], dtype=np.uint64)
        counter = np.array([0, 0, 0, place.position], dtype=np.uint64)
        generator.state = {**at, "state": {"key": key, "counter": counter}}
        row[:] = generator.random_raw(pairs.shape[1])
    return pairs.view("<u4")[:, :num_words]


def draw(
    logits: Tensor, places: Sequence[Place | None], temperature: float = 1.0, top_p: float = 1.0
) -> Tensor:
    """One token id for each row, ``[b]`` int64, from ``logits [b, V]`` (or log-probabilities) at b ``places``.

    Temperature 0 takes the most likely token, and so does a row whose place is None. ``top_p`` below 1 keeps the
    smallest set of most likely tokens whose total probability reaches ``top_p``. A row's token depends on the row and
    its place alone.
    """
    drawn = [(i, place) for i, place in enumerate(places) if place is not None]
    if temperature == 0 or not drawn:
        return _most_likely(logits)
    rows, own = [i for i, _ in drawn], [place for _, place in drawn]
    if len(rows) == len(logits):
        return _drawn(logits, own, temperature, top_p)
    tokens = _most_likely(logits)
    tokens[rows] = _drawn(logits[rows], own, temperature, top_p)
    return tokens


def _drawn(logits: Tensor, places: Sequence[Place], temperature: float, top_p: float) -> Tensor:
    scaled = (logits if logits.dtype == torch.float64 else logits.float()) / temperature
    if top_p < 1:
        scaled = _nucleus(scaled, top_p)
    noise = gumbel_noise(places, logits.shape[-1])
    return _most_likely(scaled.add_(noise.to(scaled.device)))


def _most_likely(logits: Tensor) -> Tensor:
    """The argmax ``[b]`` of ``logits [b, V]``. On a CPU, NumPy's takes a twentieth of the time of torch's."""
    if logits.device.type == "cpu" and logits.dtype in (torch.float32, torch.float64):
        return torch.from_numpy(logits.detach().numpy().argmax(-1))
    return logits.argmax(-1)


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    falling, order = logits.double().softmax(-1).sort(-1, descending=True)
    before = falling.cumsum(-1) - falling
    left_out = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= top_p)
    return logits.masked_fill(left_out, -torch.inf)
