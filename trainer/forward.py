"""``Forward``: the student's loss on micro-batches, without padding and without logits where the model allows that."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from adaswitch.config.trainer import TrainerConfig
from adaswitch.method.batching import Batch, make_batch, make_packed_batch
from adaswitch.method.packing import num_all_tokens, packed_rows, padded_rows, sized_rows
from adaswitch.method.projection import Head, projected_share
from adaswitch.method.rollout import Rollout
from adaswitch.method.step_loss import loss_share
from trainer.model_parts import base_of, head_of, why_never_packed
from trainer.world import Inside, call

SAME = {"float32": 1e-4, "bfloat16": 0.1}
"""The largest difference of a token's outputs in one row and in two, as a share of their norm, by number type."""


class Forward:
    """The forward pass of training. Call ``look_at`` before the first loss."""

    def __init__(
        self, model: PreTrainedModel, config: TrainerConfig, device: str, inside: Inside = call
    ) -> None:
        """``inside`` calls what computes with the model. ``share`` is to be called within it."""
        self._model = model
        self._inside = inside
        self._config = config
        self._device = device
        self._head: nn.Linear | None = None
        self._has_looked = False
        self._packs: bool | None = None if config.micro_batch_tokens else False

    def look_at(self, rollouts: Sequence[Rollout], token_ids: Tensor) -> None:
        """Find out once what can be done with this model, and say what cannot.

        On some tokens ``[1, m]`` it is found out whether logits can be made in pieces. Otherwise those of a micro-batch
        are computed whole. On the ``rollouts`` of a whole step it is found out whether they can be packed.
        """
        self._look_at_head(token_ids)
        if (max_tokens := self._config.micro_batch_tokens) is not None:
            self._can_pack(packed_rows(rollouts, max_tokens), max_tokens)

    def _look_at_head(self, token_ids: Tensor) -> None:
        if self._has_looked:
            return
        self._has_looked = True
        if not self._config.loss.is_per_token():
            _say_whole("trainer.loss is your own; its class may say that per_token = True")
            return
        with self._computing(), torch.no_grad():
            self._head = self._inside(lambda: head_of(self._model, token_ids))
        if self._head is None:
            _say_whole("those of this model are more than its head's outputs")

    def batches(self, rollouts: Sequence[Rollout]) -> Iterator[Batch]:
        """The micro-batches of ``rollouts``, on this device."""
        make = make_packed_batch if self._packs_rows() else make_batch
        return (make(row).to(self._device) for row in self._rows(rollouts))

    def num_batches(self, rollouts: Sequence[Rollout]) -> int:
        """The number of micro-batches of ``rollouts``."""
        return len(self._rows(rollouts))

    def _packs_rows(self) -> bool:
        return self._config.micro_batch_tokens is not None and self._packs is not False

    def _rows(self, rollouts: Sequence[Rollout]) -> Sequence[Sequence[Rollout]]:
        """The rollouts of each micro-batch."""
        max_tokens, size = self._config.micro_batch_tokens, self._config.micro_batch_size
        if max_tokens is None:
            return sized_rows(rollouts, size)
        return (packed_rows if self._packs_rows() else padded_rows)(rollouts, max_tokens)

    def _can_pack(self, rows: Sequence[Sequence[Rollout]], max_tokens: int) -> bool:
        """Whether a pair of rollouts in one row has the outputs of the pair in two rows. Says so once if not.

        As long as no row has two rollouts, rows without padding are right for every model.
        """
        if self._packs is not None:
            return self._packs
        full = [row for row in rows if len(row) > 1]
        why = why_never_packed(self._model, max_tokens)
        if why is None and not full:
            return True
        if why is None:
            # The shortest last, so that most of what must not be seen lies in front of it.
            fullest = max(full, key=len)
            pair = sorted(fullest, key=num_all_tokens, reverse=True)
            why = self._why_unlike([pair[0], pair[-1]])
        self._packs = why is None
        if why is not None:
            print(
                f"trainer.micro_batch_tokens: this model cannot be packed ({why}): its micro-batches are padded, to no "
                f"more than {max_tokens} tokens",
                flush=True,
            )
        return self._packs

    @torch.no_grad()
    def _why_unlike(self, pair: Sequence[Rollout]) -> str | None:
        packed, padded = (make(pair).to(self._device) for make in (make_packed_batch, make_batch))
        outputs = self._logits if self._head is None else self._hidden
        found, expected = (self._inside(partial(outputs, each)).float() for each in (packed, padded))
        off = (found - expected).norm(dim=-1) / expected.norm(dim=-1).clamp_min(1e-30)
        largest = float(off.max())
        if largest <= SAME[self._config.dtype]:
            return None
        return f"two texts in one row are off by {largest:.2g} of what they are in two"

    def share(self, batch: Batch, total_weight: float) -> tuple[Tensor, Tensor]:
        """The batch's ``loss_share``, from which the gradient flows, and the loss of each token ``[n]``."""
        loss = self._config.loss
        if self._head is None:
            losses = loss.token_losses(batch, self._logits(batch))
            with loss.differentiating():
                return loss_share(losses, batch.weights, total_weight), losses.detach()
        hidden = self._hidden(batch)
        return projected_share(loss, batch, hidden, Head(self._head.weight, self._head.bias), total_weight)

    def _computing(self) -> AbstractContextManager[object]:
        """The number type of the forward pass."""
        return torch.autocast(
            self._device.split(":")[0], torch.bfloat16, enabled=self._config.dtype == "bfloat16"
        )

    def _hidden(self, batch: Batch) -> Tensor:
        """The head's inputs ``[n, d]`` at completion tokens, in the number type that logits are computed in."""
        with self._computing():
            hidden: Tensor = base_of(self._model)(**_inputs(batch)).last_hidden_state
        hidden = batch.completion_logits(hidden[:, -batch.num_kept :])
        return hidden.bfloat16() if self._config.dtype == "bfloat16" else hidden

    def _logits(self, batch: Batch) -> Tensor:
        """The logits ``[n, V']`` of completion tokens: of a packed row no others are made, if the model can."""
        packed = batch.attention_mask is None
        with self._computing():
            kept = batch.outputs if packed else batch.num_kept
            logits: Tensor = self._model(**_inputs(batch), logits_to_keep=kept).logits
        if packed and logits.shape[1] == batch.num_tokens:
            return logits[0]
        return batch.completion_logits(logits[:, -batch.num_kept :])


def _inputs(batch: Batch) -> dict[str, Any]:
    """What the model is called with. A packed batch has no mask: with one, its rollouts would see each other."""
    mask = {} if batch.attention_mask is None else {"attention_mask": batch.attention_mask}
    return {
        "input_ids": batch.input_ids,
        "position_ids": batch.position_ids,
        "use_cache": False,
        **mask,
    }


def _say_whole(why: str) -> None:
    print(f"the logits of a micro-batch are computed as a whole: {why}", flush=True)
