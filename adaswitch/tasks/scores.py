"""From marks to scores: the mean of each metric in each split, with a 95 % confidence interval over prompts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

Z_95 = 1.959963984540054
"""The 97.5th percentile of the standard normal distribution."""
MAIN_SPLIT, ALL_SPLITS = "eval", "all"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one completion. A prompt may have several completions."""

    split: str
    number: int
    """The prompt's number in its split."""
    marks: Mapping[str, float] | None
    """The marks by the metric's name; None if the completion could not be marked."""


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval, and the method that computed it."""

    low: float
    high: float
    method: str


@dataclass(frozen=True)
class Score:
    """The score of one metric in one split."""

    split: str
    """``eval`` or ``all`` for all held-out prompts; otherwise a part of them, or a harder split."""
    metric: str
    value: float | None
    """The mean over prompts of the mean over each prompt's completions; None if no completion could be marked."""
    interval: Interval | None
    """The confidence interval of ``value``; None for fewer than two prompts."""
    n: int
    """The number of prompts with a marked completion."""
    unmarked: int
    """The number of completions that could not be marked, which do not count in ``value``."""


def describe(split: str, metric: str, value: float | None, n: int, unmarked: int = 0) -> str:
    """A score in words: ``exact match 42.0% of 500``, with the split's name unless it is ``eval`` or ``all``."""
    name = metric.replace("_", " ")
    if split not in (MAIN_SPLIT, ALL_SPLITS):
        name = f"{split}: {name}"
    share = "-" if value is None else f"{value:.1%}"
    return f"{name} {share} of {n}" + (f" ({unmarked} unmarked)" if unmarked else "")


def scores(outcomes: Sequence[Outcome], metrics: Sequence[str]) -> list[Score]:
    """A ``Score`` for each split and metric. The split that stands for the whole comes first.

    If no split is called ``eval``, for example because the splits are kinds of question, a split over all of them is
    added.
    """
    splits = {outcome.split: None for outcome in outcomes}
    groups: dict[str, Sequence[Outcome]] = {}
    if MAIN_SPLIT not in splits:
        groups[ALL_SPLITS] = outcomes
    for split in sorted(splits, key=lambda split: split != MAIN_SPLIT):
        groups[split] = [outcome for outcome in outcomes if outcome.split == split]
    return [_score(split, metric, group) for split, group in groups.items() for metric in metrics]


def _score(split: str, metric: str, outcomes: Sequence[Outcome]) -> Score:
    prompts: dict[tuple[str, int], list[float]] = {}
    unmarked = 0
    for outcome in outcomes:
        if outcome.marks is None:
            unmarked += 1
        else:
            prompts.setdefault((outcome.split, outcome.number), []).append(outcome.marks[metric])
    if not prompts:
        return Score(split, metric, None, None, 0, unmarked)
    means = [fmean(values) for values in prompts.values()]
    yes_or_no = all(len(values) == 1 and values[0] in (0.0, 1.0) for values in prompts.values())
    interval = wilson(round(sum(means)), len(means)) if yes_or_no else over_prompts(means)
    return Score(split, metric, fmean(means), interval, len(means), unmarked)


def wilson(num_right: int, n: int) -> Interval | None:
    """Wilson's score interval of a share (Wilson 1927), for marks of 0 and 1 with one completion per prompt."""
    if n < 2:
        return None
    share = num_right / n
    centre = (share + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    half = Z_95 * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n * n)) / (1 + Z_95**2 / n)
    # At a share of 0 or 1 the bound equals the share itself, apart from rounding.
    return Interval(max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)), "Wilson")


def over_prompts(means: Sequence[float]) -> Interval | None:
    """The normal interval of the mean of ``means``, cut to [0, 1]. Each of ``means`` is the mean of one prompt.

    Completions of the same prompt are alike, so a prompt counts once, no matter how many completions it has.
    """
    if len(means) < 2:
        return None
    centre, half = fmean(means), Z_95 * stdev(means) / math.sqrt(len(means))
    return Interval(max(0.0, centre - half), min(1.0, centre + half), "normal over prompts")


def mean_per_token(sums: Iterable[tuple[float, int]]) -> tuple[float, Interval | None]:
    """The mean over all tokens, and its interval over prompts, from the ``(sum, tokens)`` of each prompt.

    The mean is a ratio of two sums that both vary with the prompts. So the interval is that of a ratio estimator, by
    its linearisation (Cochran 1977, section 6.4). Raises ``ValueError`` if there are no tokens.
    """
    pairs = list(sums)
    total, num_tokens = sum(value for value, _ in pairs), sum(count for _, count in pairs)
    if num_tokens == 0:
        raise ValueError("a mean over no tokens")
    ratio = total / num_tokens
    if len(pairs) < 2:
        return ratio, None
    residuals = [value - ratio * count for value, count in pairs]
    variance = sum(residual**2 for residual in residuals) / (len(pairs) - 1)
    half = Z_95 * math.sqrt(variance * len(pairs)) / num_tokens
    return ratio, Interval(max(0.0, ratio - half), ratio + half, "ratio over prompts")
