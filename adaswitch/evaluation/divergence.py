"""How far a student is from its teacher: mean divergences over given completions, on the full vocabulary.

Shapes: n completion tokens of a sequence, V tokens in the vocabulary. Nats a token.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from adaswitch.method.divergence import DIVERGENCES
from adaswitch.tasks.scores import Interval, mean_per_token

METRICS = ("forward_kl", "reverse_kl")
MAX_LOGITS = 2**25
"""Of one model's forward pass, 128 MiB in float32; a longer sequence is a pass of its own."""
MAX_ROWS = 64
"""Positions that are compared at once: what a divergence needs between stays small."""


@dataclass(frozen=True)
class Text:
    """A prompt and a completion of it, whoever wrote it, in tokens; neither is empty."""

    prompt: object
    """What tells its prompt from others: completions of one prompt count together."""
    prompt_token_ids: Sequence[int]
    token_ids: Sequence[int]

    @property
    def num_tokens(self) -> int:
        """Of prompt and completion."""
        return len(self.prompt_token_ids) + len(self.token_ids)


@dataclass(frozen=True)
class MeanDivergence:
    """A divergence of student and teacher, in nats a token."""

    metric: str
    value: float
    interval: Interval | None
    """95 %, over prompts; None for fewer than two."""
    n: int
    """Prompts."""
    num_tokens: int
    totals: tuple[float, ...]
    """Of each text, in nats: its sum over the completion's tokens."""


def mean_divergences(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    texts: Sequence[Text],
    vocab_size: int,
    advance: Callable[[int], None] = lambda count: None,
) -> list[MeanDivergence]:
    """The mean over all completion tokens of each of ``METRICS``, the teacher's distribution being p.

    Logits beyond ``vocab_size`` are padding of the embedding and ignored. Memory goes with ``MAX_LOGITS``, not
    with the number of texts. Raises ``ValueError`` without a completion token.
    """
    totals: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for group in _groups(texts, vocab_size):
        rows = zip(group, _logits(teacher, group), _logits(student, group), strict=True)
        for _, teacher_logits, student_logits in rows:
            for metric, total in _totals(teacher_logits, student_logits, vocab_size).items():
                totals[metric].append(total)
        advance(len(group))
    return [_mean(metric, texts, of_texts) for metric, of_texts in totals.items()]


def _mean(metric: str, texts: Sequence[Text], totals: Sequence[float]) -> MeanDivergence:
    """The completions of one prompt count together."""
    sums: dict[object, tuple[float, int]] = {}
    for text, total in zip(texts, totals, strict=True):
        before, count = sums.get(text.prompt, (0.0, 0))
        sums[text.prompt] = (before + total, count + len(text.token_ids))
    value, interval = mean_per_token(sums.values())
    num_tokens = sum(count for _, count in sums.values())
    return MeanDivergence(metric, value, interval, len(sums), num_tokens, tuple(totals))


def _groups(texts: Sequence[Text], vocab_size: int) -> Iterator[list[Text]]:
    group: list[Text] = []
    for text in texts:
        longest = max([text, *group], key=lambda member: member.num_tokens).num_tokens
        if group and (len(group) + 1) * longest * vocab_size > MAX_LOGITS:
            yield group
            group = []
        group.append(text)
    if group:
        yield group


@torch.inference_mode()
def _logits(model: PreTrainedModel, group: Sequence[Text]) -> list[Tensor]:
    """The logits ``[n, V']`` that each text's completion tokens are predicted by."""
    width = max(text.num_tokens for text in group)
    # Padding on the right needs no mask: a causal model never looks ahead.
    rows = [[*text.prompt_token_ids, *text.token_ids] for text in group]
    input_ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    first = min(len(text.prompt_token_ids) for text in group) - 1
    output = model(input_ids=input_ids.to(model.device), use_cache=False, logits_to_keep=width - first)
    return [
        logits[len(text.prompt_token_ids) - 1 - first : text.num_tokens - 1 - first]
        for text, logits in zip(group, output.logits, strict=True)
    ]


@torch.inference_mode()
def _totals(teacher_logits: Tensor, student_logits: Tensor, vocab_size: int) -> dict[str, float]:
    """The sum over positions of each divergence."""
    totals = dict.fromkeys(METRICS, 0.0)
    for start in range(0, len(student_logits), MAX_ROWS):
        p, q = (
            logits[start : start + MAX_ROWS, :vocab_size].float().log_softmax(-1)
            for logits in (teacher_logits, student_logits)
        )
        for metric in METRICS:
            totals[metric] += float(DIVERGENCES[metric](p, q.to(p.device)).double().sum())
    return totals
