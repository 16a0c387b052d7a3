"""How far a student is from its teacher: mean divergences over given completions, on the full vocabulary.

Shapes: n completion tokens of a sequence, V tokens in the vocabulary. Divergences are in nats per token.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from adaswitch.errors import NonFiniteError
from adaswitch.method.divergence import DIVERGENCES
from adaswitch.tasks.scores import Interval, mean_per_token

METRICS = ("forward_kl", "reverse_kl")
MAX_LOGITS = 2**25
"""The largest number of logits in a model's forward pass: 128 MiB in float32. A longer sequence has its own pass."""
MAX_ROWS = 64
"""The number of positions that are compared at once, which keeps the intermediate arrays of a divergence small."""


@dataclass(frozen=True)
class Text:
    """A prompt and a completion of the prompt in tokens, no matter who wrote them. Neither is empty."""

    prompt: object
    """The identity of the prompt. Completions with the same prompt count together."""
    prompt_token_ids: Sequence[int]
    token_ids: Sequence[int]

    @property
    def num_tokens(self) -> int:
        """The number of tokens in prompt and completion together."""
        return len(self.prompt_token_ids) + len(self.token_ids)


@dataclass(frozen=True)
class MeanDivergence:
    """The mean of one divergence between student and teacher, in nats per token."""

    metric: str
    value: float
    interval: Interval | None
    """The 95 % confidence interval over prompts; None for fewer than two prompts."""
    n: int
    """The number of prompts."""
    num_tokens: int
    totals: tuple[float, ...]
    """The sum of the divergence over the completion's tokens, in nats, for each text."""


def mean_divergences(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    texts: Sequence[Text],
    vocab_size: int,
    advance: Callable[[int], None] = lambda count: None,
) -> list[MeanDivergence]:
    """The mean of each of ``METRICS`` over all completion tokens, where p is the teacher's distribution.

    Logits beyond ``vocab_size`` are padding of the embedding and are ignored. The memory depends on ``MAX_LOGITS``,
    not on the number of texts. Raises ``ValueError`` if there are no completion tokens, and ``NonFiniteError`` if a
    divergence is no number.
    """
    totals: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for group in _groups(texts, vocab_size):
        rows = zip(group, _logits(teacher, group), _logits(student, group), strict=True)
        for _, teacher_logits, student_logits in rows:
            for metric, total in _totals(teacher_logits, student_logits, vocab_size).items():
                if math.isnan(total):
                    whose = "student" if bool(student_logits.isnan().any()) else "teacher"
                    raise NonFiniteError(f"the {metric} divergence is NaN: so are the {whose}'s logits")
                totals[metric].append(total)
        advance(len(group))
    return [_mean(metric, texts, of_texts) for metric, of_texts in totals.items()]


@dataclass(frozen=True)
class TokenDivergence:
    """How far two models are apart before one token of a completion, in nats, and what each would have written."""

    value: float
    """KL(p || q), where p is the second model and q the first."""
    likeliest: int
    """The first model's most likely token."""
    others_likeliest: int
    """The second model's."""


@torch.inference_mode()
def token_divergences(
    model: PreTrainedModel, other: PreTrainedModel, text: Text, vocab_size: int
) -> list[TokenDivergence]:
    """The forward KL divergence at each token of the completion, on the first ``vocab_size`` outcomes.

    Raises ``NonFiniteError`` if a divergence is no number.
    """
    found: list[TokenDivergence] = []
    logits, others = (_logits(each, [text])[0][:, :vocab_size] for each in (model, other))
    for start in range(0, len(logits), MAX_ROWS):
        q, p = (rows[start : start + MAX_ROWS].float().log_softmax(-1) for rows in (logits, others))
        p = p.to(q.device)
        values = DIVERGENCES["forward_kl"](p, q).tolist()
        for value, own, theirs in zip(values, q.argmax(-1).tolist(), p.argmax(-1).tolist(), strict=True):
            if math.isnan(value):
                raise NonFiniteError(
                    "the divergence of the two models is NaN: so are the logits of one of them"
                )
            found.append(TokenDivergence(value, own, theirs))
    return found


def _mean(metric: str, texts: Sequence[Text], totals: Sequence[float]) -> MeanDivergence:
    """The mean from the texts' ``totals``. The completions of one prompt count together."""
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
    """For each text the logits ``[n, V']`` that predict its completion tokens."""
    width = max(text.num_tokens for text in group)
    # Padding on the right needs no mask, because a causal model never looks ahead.
    rows = [[*text.prompt_token_ids, *text.token_ids] for text in group]
    input_ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    first = min(len(text.prompt_token_ids) for text in group) - 1
    num_kept = width - first
    output = model(input_ids=input_ids.to(model.device), use_cache=False, logits_to_keep=num_kept)
    return [
        logits[len(text.prompt_token_ids) - 1 - first : text.num_tokens - 1 - first]
        for text, logits in zip(group, output.logits[:, -num_kept:], strict=True)
    ]


@torch.inference_mode()
def _totals(teacher_logits: Tensor, student_logits: Tensor, vocab_size: int) -> dict[str, float]:
    """The sum of each divergence over all positions."""
    totals = dict.fromkeys(METRICS, 0.0)
    for start in range(0, len(student_logits), MAX_ROWS):
        p, q = (
            logits[start : start + MAX_ROWS, :vocab_size].float().log_softmax(-1)
            for logits in (teacher_logits, student_logits)
        )
        for metric in METRICS:
            totals[metric] += float(DIVERGENCES[metric](p, q.to(p.device)).double().sum())
    return totals
