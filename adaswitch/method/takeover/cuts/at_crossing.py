"""AdaSwitch's cut (arXiv 2510.07842): the teacher writes the token at which the trigger fired."""

from collections.abc import Sequence
from typing import Literal

from adaswitch.method.takeover.cuts.base import Cut


class AtCrossing(Cut):
    """AdaSwitch (arXiv 2510.07842): at the crossing itself."""

    kind: Literal["at_crossing"] = "at_crossing"

    def num_back(self, values: Sequence[float], threshold: float) -> int:
        """See ``Cut``."""
        return 0
