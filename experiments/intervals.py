"""Means over seeds with their 95 % intervals, and paired differences: Student's t, by scipy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy import stats

CONFIDENCE = 0.95
Sums = Mapping[object, tuple[float, int]]
"""For each prompt: a sum, and the number of tokens (or completions) that the sum is over."""


@dataclass(frozen=True)
class Interval:
    """``mean`` of ``n`` values, and half the width of its 95 % interval (NaN for one value)."""

    mean: float
    half_width: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero. Always False for a single value: it has no interval."""
        return abs(self.mean) > self.half_width


def interval(values: Sequence[float]) -> Interval:
    """The mean of independent ``values``, at least one, with its interval by Student's t."""
    n = len(values)
    if n == 1:
        return Interval(values[0], math.nan, 1)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    return Interval(fmean(values), quantile * stdev(values) / math.sqrt(n), n)


def paired(values: Mapping[int, float], reference: Mapping[int, float]) -> Interval | None:
    """The mean of ``values - reference`` over the seeds that both have; None if they share no seed.

    A seed fixes the student's start, the prompts and the held-out prompts: pairing takes the spread that these cause
    out of the comparison.
    """
    seeds = sorted(values.keys() & reference.keys())
    return interval([values[seed] - reference[seed] for seed in seeds]) if seeds else None


def over_prompts(sums: Sums) -> Interval:
    """The mean per token of one model's texts, with its interval over prompts. There must be at least one token.

    The mean is a ratio of two sums, which both vary with the prompts. Its interval comes from the linearised ratio
    (Cochran 1977, section 6.4).
    """
    total, count = (sum(pair[i] for pair in sums.values()) for i in (0, 1))
    return _centred(total / count, list(_residuals(sums).values()))


def paired_over_prompts(sums: Sums, reference: Sums) -> Interval | None:
    """The mean per token of ``sums`` minus that of ``reference``, over the prompts in both; None if there are none."""
    common = sums.keys() & reference.keys()
    if not common:
        return None
    own, other = ({prompt: side[prompt] for prompt in common} for side in (sums, reference))
    residuals, others = _residuals(own), _residuals(other)
    difference = over_prompts(own).mean - over_prompts(other).mean
    return _centred(difference, [residuals[prompt] - others[prompt] for prompt in common])


def _residuals(sums: Sums) -> dict[object, float]:
    """How far each prompt alone pulls the ratio up or down, to first order. The mean over the prompts is 0."""
    total, count = (sum(pair[i] for pair in sums.values()) for i in (0, 1))
    mean_count = count / len(sums)
    return {prompt: (value - total / count * n) / mean_count for prompt, (value, n) in sums.items()}


def _centred(mean: float, residuals: Sequence[float]) -> Interval:
    return Interval(mean, interval(residuals).half_width, len(residuals))
