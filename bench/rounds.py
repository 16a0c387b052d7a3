"""Two ways of the same work in turn, and what they come to."""

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median

Work = Callable[[], Awaitable[None]]
NUM_ROUNDS = 7


@dataclass(frozen=True)
class Row:
    """One line of a benchmark: the better ``ratio`` is, by ``at_least`` or at most, the ``target``."""

    row: str
    ours: float
    peer: float | None
    unit: str
    ratio: float
    target: float
    at_least: bool = True
    rounds: int = 1

    def line(self) -> str:
        """As JSON."""
        passed = self.ratio >= self.target if self.at_least else self.ratio <= self.target
        return json.dumps(
            {
                "row": self.row,
                "ours": round(self.ours, 4),
                "peer": None if self.peer is None else round(self.peer, 4),
                "unit": self.unit,
                "ratio": round(self.ratio, 4),
                "target": f"{'>=' if self.at_least else '<='} {self.target:g}",
                "pass": passed,
                "rounds": self.rounds,
            }
        )


async def nothing() -> None:
    """No preparation."""


async def compare(
    name: str, ours: Work, peer: Work, num_tokens: int, target: float, before: Work = nothing
) -> Row:
    """Tokens a second of both, as medians of rounds in turn; one of each goes before and does not count.

    ``before`` prepares each of our rounds, and is not timed.
    """
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for number in range(NUM_ROUNDS + 1):
        for side, work in (("ours", ours), ("peer", peer)):
            if side == "ours":
                await before()
            started_s = time.perf_counter()
            await work()
            if number:
                seconds[side].append(time.perf_counter() - started_s)
    mine, theirs = (num_tokens / median(seconds[side]) for side in ("ours", "peer"))
    return Row(name, mine, theirs, "tokens/s", mine / theirs, target, rounds=NUM_ROUNDS)
