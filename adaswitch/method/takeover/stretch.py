"""``Stretch``: what a trigger has seen since the student took the pen, which begins anew after each leg of the teacher.

Only so can a window or an evidence that adds up be told from a completion whose teacher's tokens nobody compared.
"""

import math

from adaswitch.method.prompt import Prompt
from adaswitch.method.takeover.places import Places, Verdict
from adaswitch.method.takeover.triggers.base import Trigger


class Stretch:
    """A ``Watch`` by ``trigger`` over one stretch of a completion of ``prompt``."""

    def __init__(self, trigger: Trigger, prompt: Prompt) -> None:
        self.values: list[float] = []
        """What was measured at the places so far, in nats; the last is that of the crossing, if there was one."""
        self.threshold = math.inf
        """The threshold at the last place, in nats."""
        self._trigger = trigger
        self._prompt = prompt

    async def look(self, places: Places) -> tuple[int | None, list[float]]:
        """See ``Watch``."""
        verdict = await self._trigger.judge(self.values, places, self._prompt)
        self.values += verdict.values
        self.threshold = verdict.thresholds[-1]
        return verdict.crossing, _recorded(verdict)


def _recorded(verdict: Verdict) -> list[float]:
    """The thresholds as a rollout records them beside its divergences."""
    if verdict.measures_divergences:
        return list(verdict.thresholds)
    shown = [math.inf] * len(verdict.thresholds)
    if verdict.crossing is not None:
        shown[verdict.crossing] = -math.inf
    return shown
