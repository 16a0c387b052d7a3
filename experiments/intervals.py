"""Means over seeds with their 95 % intervals, and paired differences: Student's t, by scipy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """``mean`` of ``n`` values, and half the width of its 95 % interval (NaN for one value)."""

    mean: float
    half_width: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero. One value has no interval, and never does."""
        return abs(self.mean) > self.half_width


def interval(values: Sequence[float]) -> Interval:
    """The mean of independent ``values`` with its interval by Student's t. At least one value."""
    n = len(values)
    if n == 1:
        return Interval(values[0], math.nan, 1)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    return Interval(fmean(values), quantile * stdev(values) / math.sqrt(n), n)


def paired(values: Mapping[int, float], reference: Mapping[int, float]) -> Interval | None:
    """``values - reference`` over the seeds that both have; None where there is none.

    A seed fixes the student's start, the prompts and the held-out prompts: pairing takes their share of the
    spread out of the comparison.
    """
    seeds = sorted(values.keys() & reference.keys())
    return interval([values[seed] - reference[seed] for seed in seeds]) if seeds else None
