"""Batched decoding with a key-value cache, for any causal language model with transformers' call signature.

Shapes: b sequences, V tokens in the vocabulary, c cached positions, n new positions, F numbers that all layers keep for
a position (``CacheLayout``). Every sequence keeps its own cache without padding, so that each call can make a new batch
from sequences of any length. Some sequences may be new, some continued, and some continued after tokens that the
teacher wrote.

Attention may be full or over a sliding window. The mask of a sliding window depends on the distance between columns,
so the columns of a sequence lie side by side without gaps, and its cache holds all columns, including those that have
left the window.
"""

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from adaswitch.method.probe import CacheData, CacheLayout, CausalLM, probe


@dataclass
class Draft:
    """A sequence that is being written: all its tokens so far, and the cache of the tokens that were fed already."""

    token_ids: list[int]
    cache: Tensor | None = field(default=None, repr=False)
    """The keys and values of all layers ``[c, F]``, without padding."""

    @property
    def num_cached(self) -> int:
        """The number of ``token_ids`` that the cache holds."""
        return 0 if self.cache is None else len(self.cache)


@dataclass(frozen=True)
class Written:
    """The tokens that were added to one draft: ``token_ids [n]``, and the ``logits [n, V]`` that they were drawn from.

    The logits are the model's own, in its number type, and in memory that no other draft shares.
    """

    token_ids: list[int]
    logits: Tensor

    @property
    def logprobs(self) -> Tensor:
        """The log-probabilities ``[n, V]`` in float32, at temperature 1."""
        return self.logits.float().log_softmax(-1)


class Decoder:
    """Writes sequences with one model.

    ``make_cache`` builds the model's cache object from ``CacheData``, which is empty at first. The layers of the cache
    object must keep every position, as those of transformers' ``DynamicCache`` do. ``vocab_size`` is V: rows of the
    embedding beyond V are padding and can never be drawn. Raises ``ModelError`` for a model that cannot be decoded,
    such as one whose state is more than keys and values (``probe``).
    """

    def __init__(
        self, model: CausalLM, make_cache: Callable[[CacheData], Any], vocab_size: int, device: str = "cpu"
    ) -> None:
        self._model = model
        self._make_cache = make_cache
        self._vocab_size = vocab_size
        self._device = device
        self._layout = probe(model, make_cache, vocab_size, device)

    @torch.inference_mode()
    def write(
        self,
        drafts: Sequence[Draft],
        num_tokens: Sequence[int],
        stop_token_ids: Sequence[Collection[int]],
        choose: Callable[[Tensor, int], Tensor],
    ) -> list[Written]:
        """Continue draft i by at most ``num_tokens[i]`` tokens. A stop token ends a draft earlier, and is included.

        ``choose(logits [b, V], j)`` draws the j-th new token of every row. The drafts are extended, and
        their caches hold all tokens but the last, which has not been fed yet. Raises ``ValueError`` for a
        draft without tokens, or if no token is to be written.
        """
        if any(not draft.token_ids for draft in drafts) or min(num_tokens) < 1:
            raise ValueError("every draft needs a token to go on from, and at least one to be written")
        batch = _Batch(drafts, self._make_cache, self._layout, self._device)
        rows: list[Tensor] = []
        finished = [False] * len(drafts)
        new_ids: list[list[int]] = [[] for _ in drafts]
        for j in itertools.count():
            logits = self._step(batch)
            rows = rows or [logits.new_empty(count, logits.shape[-1], device="cpu") for count in num_tokens]
            chosen = choose(logits, j).tolist()
            for i, (token, row) in enumerate(zip(chosen, logits.cpu(), strict=True)):
                if not finished[i]:
                    new_ids[i].append(token)
                    rows[i][j] = row
                    finished[i] = token in stop_token_ids[i] or len(new_ids[i]) == num_tokens[i]
            if all(finished):
                break
            batch.append(chosen)
        batch.store_caches([len(ids) for ids in new_ids])
        for draft, ids in zip(drafts, new_ids, strict=True):
            draft.token_ids.extend(ids)
        return [Written(ids, _cut(own, len(ids))) for ids, own in zip(new_ids, rows, strict=True)]

    def _step(self, batch: "_Batch") -> Tensor:
        output = self._model(**batch.inputs(), use_cache=True, logits_to_keep=1)
        batch.cache = output.past_key_values
        logits: Tensor = output.logits[:, -1, : self._vocab_size]
        return logits


class _Batch:
    """Drafts side by side: caches padded on the left, then the tokens that are fed, without a gap within a row.

    All rows feed as many tokens as the row with the most new tokens. The other rows feed their last cached tokens
    again, in columns that would be padding otherwise.
    """

    def __init__(
        self,
        drafts: Sequence[Draft],
        make_cache: Callable[[CacheData], Any],
        layout: CacheLayout,
        device: str,
    ) -> None:
        self._drafts = drafts
        self._layout = layout
        self._device = device
        # The last token is always fed, even if it is cached, because its output predicts the next token.
        width_fed = max(1, *(len(draft.token_ids) - draft.num_cached for draft in drafts))
        num_reused = [max(0, len(draft.token_ids) - width_fed) for draft in drafts]
        fed = [draft.token_ids[count:] for draft, count in zip(drafts, num_reused, strict=True)]
        reused = _stack_caches(drafts, num_reused)
        self.cache = make_cache([] if reused is None else layout.split(reused))
        self._input_ids = _left_padded(fed, width_fed).to(device)
        width = max(num_reused) + width_fed
        self._mask = _left_padded([[1] * len(draft.token_ids) for draft in drafts], width).to(device)

    def inputs(self) -> dict[str, Any]:
        """The keyword arguments of the next forward pass."""
        positions = (self._mask.cumsum(-1) - 1).clamp_min(0)
        return {
            "input_ids": self._input_ids,
            "attention_mask": self._mask,
            "position_ids": positions[:, -self._input_ids.shape[1] :],
            "past_key_values": self.cache,
        }

    def append(self, token_ids: list[int]) -> None:
        """Make one new token of each row the next input."""
        self._input_ids = torch.tensor(token_ids, device=self._device).unsqueeze(-1)
        self._mask = torch.cat([self._mask, torch.ones_like(self._input_ids)], dim=1)

    def store_caches(self, num_new: list[int]) -> None:
        """Give every draft its own part of the cache, without padding."""
        flat = self._layout.flatten([(layer.keys, layer.values) for layer in self.cache.layers])
        for i, (draft, new) in enumerate(zip(self._drafts, num_new, strict=True)):
            keep = self._mask[i].nonzero().squeeze(-1)[: len(draft.token_ids) + new - 1]
            draft.cache = flat[i].index_select(0, keep)


def _cut(rows: Tensor, count: int) -> Tensor:
    """The first ``count`` rows, without the memory of the others."""
    return rows if len(rows) == count else rows[:count].clone()


def _left_padded(rows: Sequence[Sequence[int]], width: int) -> Tensor:
    return torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], dtype=torch.long)


def _stack_caches(drafts: Sequence[Draft], num_reused: Sequence[int]) -> Tensor | None:
    """The first ``num_reused[i]`` positions of each cache ``[b, c, F]``, padded on the left. None if all are 0."""
    width = max(num_reused)
    if width == 0:
        return None
    empty = next(draft.cache for draft in drafts if draft.cache is not None)[:0]
    padded = [
        F.pad(empty if draft.cache is None else draft.cache[:count], (0, 0, width - count, 0))
        for draft, count in zip(drafts, num_reused, strict=True)
    ]
    return torch.stack(padded)
