"""A comparison over rounds as a row: medians, and the spread of the rounds' ratios."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.rounds import Row


@dataclass(frozen=True)
class SpreadRow:
    """A row with the smallest and the largest ratio that a round had."""

    row: Row
    spread: tuple[float, float]

    def line(self) -> str:
        """The row as one line of JSON."""
        low, high = self.spread
        return json.dumps({**json.loads(self.row.line()), "spread": [round(low, 4), round(high, 4)]})


def compared(
    name: str, ours: Sequence[float], peer: Sequence[float], unit: str, target: float, at_least: bool = True
) -> SpreadRow:
    """The row of two sides, one value a round each: the ratio is that of their medians."""
    ratios = [mine / theirs for mine, theirs in zip(ours, peer, strict=True)]
    mine, theirs = median(ours), median(peer)
    row = Row(name, mine, theirs, unit, mine / theirs, target, at_least, len(ours))
    return SpreadRow(row, (min(ratios), max(ratios)))
