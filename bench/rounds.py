"""Times two ways of doing the same work, in alternating rounds, and compares them."""

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median

Work = Callable[[], Awaitable[None]]
NUM_ROUNDS = 7


@dataclass(frozen=True)
class Row:
    """One line of a benchmark. It passes if ``ratio`` is at least ``target``, or at most if ``at_least`` is False."""

    row: str
    ours: float
    peer: float | None
    unit: str
    ratio: float
    target: float
    at_least: bool = True
    rounds: int = 1

    def line(self) -> str:
        """The row as one line of JSON."""
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
    """Do nothing: there is no preparation."""


async def compare(
    name: str, ours: Work, peer: Work, num_tokens: int, target: float, before: Work = nothing
) -> Row:
    """Compare the tokens a second of ``ours`` and ``peer``, by their medians over alternating rounds.

    A first round of each is not counted. ``before`` prepares each of our rounds, and is not timed.
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
