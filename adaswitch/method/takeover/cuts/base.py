"""``Cut``: the base of the rules that say where the teacher begins, once a trigger has fired."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from adaswitch.config.base import Settings


class Cut(Settings, ABC):
    """Where the teacher begins. The fields of a subclass are its settings, under ``policy.cut``."""

    @abstractmethod
    def num_back(self, values: Sequence[float], threshold: float) -> int:
        """How many of the student's tokens before the crossing are thrown away, from 0 to ``len(values) - 1``.

        ``values`` are what the trigger measured since the student took the pen, in nats, that of the crossing last;
        ``threshold`` is the one at the crossing.
        """
