"""From rollouts to one batch for the trainer: padding, masks, and the only shift between tokens and predictions.

Shapes: b rollouts, P the longest prompt, C the longest completion, k candidates, V tokens in the vocabulary.
Prompts are padded on the left and completions on the right, so that every completion begins at the same
column. The distribution of completion token j is the model's output one column earlier, at P - 1 + j. With
``logits_to_keep = C + 1`` the model computes only the columns that are needed and the last one, and
``logits[:, :-1]`` lines up with the teacher.

A packed batch has no padding: its N tokens are one row ``[1, N]``, one rollout after the other. The positions begin
again with each rollout, which is all that keeps them apart. There must be neither a mask nor a cache: with a mask, even
one of ones, transformers takes the row for one text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from adaswitch.method.distribution import concatenate, outcome_logprobs_of
from adaswitch.method.rollout import Rollout


@dataclass(frozen=True)
class Batch:
    """``input_ids``, ``attention_mask``, ``position_ids`` are ``[b, P + C]``; all else has a row for each real token.

    In a packed batch they are ``[1, N]``, and there is no mask.

    ``row``, ``column`` ``[n]``: the place in ``[b, C]`` of each of the n real completion tokens;
    ``outputs [n]``: the place of the model's output that predicts it, in the kept outputs ``[b * (C + 1)]`` or ``[N]``;
    ``token_ids [n]``; ``top_ids [n, k]``; ``teacher_logprobs [n, k + 1]``: the teacher's outcomes, with the tail
    last; ``by_teacher [n]``: False for a token that the student wrote, True for all others; ``weights [n]``: what each
    token counts in the loss, in float64.
    """

    input_ids: Tensor
    attention_mask: Tensor | None
    position_ids: Tensor
    row: Tensor
    column: Tensor
    outputs: Tensor
    token_ids: Tensor
    top_ids: Tensor
    teacher_logprobs: Tensor
    by_teacher: Tensor
    weights: Tensor
    num_completion_columns: int
    vocab_size: int

    @property
    def num_kept(self) -> int:
        """The number of last columns whose outputs ``completion_logits`` wants."""
        return self.num_completion_columns + 1 if self.attention_mask is not None else self.input_ids.shape[1]

    @property
    def num_tokens(self) -> int:
        """n, the number of completion tokens in the batch."""
        return len(self.token_ids)

    def completion_logits(self, logits: Tensor) -> Tensor:
        """The rows ``[n, V']`` of completion tokens in the model's ``logits [b, C + 1, V']``, packed ``[1, N, V']``.

        The model must be called with ``logits_to_keep = num_kept``.
        """
        # The backward pass of indexing with two tensors would be three times as slow.
        return logits.flatten(0, 1).index_select(0, self.outputs)

    def student_logprobs(self, completion_logits: Tensor) -> Tensor:
        """The student's log-probabilities ``[n, k + 1]`` of the teacher's k candidates and the tail.

        They follow from ``completion_logits [n, V']``, and line up with ``teacher_logprobs``.
        """
        return outcome_logprobs_of(completion_logits, self.top_ids, self.vocab_size)

    def cross_entropy(self, completion_logits: Tensor) -> Tensor:
        """-log q(token) ``[n]``, from ``completion_logits [n, V']``, whose columns beyond V are ignored."""
        return -outcome_logprobs_of(completion_logits, self.token_ids.unsqueeze(-1), self.vocab_size)[:, 0]

    def part(self, start: int, stop: int) -> "Batch":
        """The same batch with completion tokens ``start .. stop - 1`` alone: what has a row for each of them is cut."""
        cut: dict[str, Any] = {name: getattr(self, name)[start:stop] for name in PER_TOKEN}
        return replace(self, **cut)

    def to(self, device: str) -> "Batch":
        """The same batch on another device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


PER_TOKEN = ("row", "column", "outputs", "token_ids", "top_ids", "teacher_logprobs", "by_teacher", "weights")
"""The fields of a ``Batch`` that have a row for each completion token."""


def make_batch(rollouts: Sequence[Rollout]) -> Batch:
    """One batch of all ``rollouts``, which must have the same k and vocabulary. No prompt may be empty."""
    _require_prompts(rollouts)
    prompt_width = max(len(rollout.prompt.token_ids) for rollout in rollouts)
    completion_width = max(rollout.num_tokens for rollout in rollouts)
    width = prompt_width + completion_width
    input_ids = torch.zeros(len(rollouts), width, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    for i, rollout in enumerate(rollouts):
        tokens = rollout.prompt.token_ids + rollout.completion_token_ids
        start = prompt_width - len(rollout.prompt.token_ids)
        input_ids[i, start : start + len(tokens)] = torch.tensor(tokens)
        attention_mask[i, start : start + len(tokens)] = 1
    row, column = _places(rollouts)
    return Batch(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=(attention_mask.cumsum(-1) - 1).clamp_min(0),
        row=row,
        column=column,
        outputs=row * (completion_width + 1) + column,
        token_ids=input_ids[row, prompt_width + column],
        num_completion_columns=completion_width,
        **_teachers(rollouts),
    )


def make_packed_batch(rollouts: Sequence[Rollout]) -> Batch:
    """The same without padding: one row in which the rollouts lie one after the other."""
    _require_prompts(rollouts)
    texts = [rollout.prompt.token_ids + rollout.completion_token_ids for rollout in rollouts]
    ends = torch.tensor([len(text) for text in texts]).cumsum(0)
    first_outputs = ends - torch.tensor([rollout.num_tokens for rollout in rollouts]) - 1
    row, column = _places(rollouts)
    input_ids = torch.tensor([token for text in texts for token in text])
    outputs = first_outputs[row] + column
    return Batch(
        input_ids=input_ids[None],
        attention_mask=None,
        position_ids=torch.cat([torch.arange(len(text)) for text in texts])[None],
        row=row,
        column=column,
        outputs=outputs,
        token_ids=input_ids[outputs + 1],
        num_completion_columns=max(rollout.num_tokens for rollout in rollouts),
        **_teachers(rollouts),
    )


def _require_prompts(rollouts: Sequence[Rollout]) -> None:
    if not all(rollout.prompt.token_ids for rollout in rollouts):
        raise ValueError("a rollout without a prompt: nothing predicts its first token")


def _places(rollouts: Sequence[Rollout]) -> tuple[Tensor, Tensor]:
    """``row`` and ``column`` of a batch."""
    lengths = torch.tensor([rollout.num_tokens for rollout in rollouts])
    row, column = (torch.arange(int(lengths.max())) < lengths[:, None]).nonzero(as_tuple=True)
    return row, column


def _teachers(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """The fields of a batch that do not depend on where the tokens lie."""
    teacher = concatenate([rollout.teacher for rollout in rollouts])
    return {
        "top_ids": teacher.ids,
        "teacher_logprobs": teacher.outcome_logprobs(),
        "by_teacher": torch.cat([torch.from_numpy(rollout.by_teacher) for rollout in rollouts]),
        "weights": torch.cat([torch.from_numpy(rollout.weights) for rollout in rollouts]),
        "vocab_size": teacher.vocab_size,
    }
