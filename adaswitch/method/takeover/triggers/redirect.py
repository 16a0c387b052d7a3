"""Relay-OPD's trigger (arXiv 2607.26057): the teacher would begin a second thought, and the student would not.

The rule is taken from the authors' repository: the teacher's most likely token begins a second thought ("Wait",
"However"), and no such token is among the student's K most likely. The teacher's candidates are all that is known of
the student's ranks here. So it fires where at least K of them are more likely to the student than any such token, which
is never wrongly, and exactly the paper's rule if the teacher gives the whole vocabulary.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr

from adaswitch.method.prompt import Prompt
from adaswitch.method.switching import first_switch
from adaswitch.method.takeover.marks import Texts, Word, ids_where, require_bound
from adaswitch.method.takeover.places import Places, Verdict
from adaswitch.method.takeover.triggers.base import Trigger

if TYPE_CHECKING:  # settings are also read by programs without torch
    from adaswitch.method.distribution import TopK

SECOND_THOUGHTS = [
    "Wait",
    "But",
    "Hmm",
    "Actually",
    "Hold",
    "However",
    "Yet",
    "Oh",
    "Alternatively",
    "No",
    "Ah",
    "Oops",
    "Well",
]
"""The words of the authors' repository."""


class Redirect(Trigger):
    """Relay-OPD (arXiv 2607.26057): where the teacher would begin a second thought and the student would not."""

    kind: Literal["redirect"] = "redirect"
    words: list[Word] = Field(default=SECOND_THOUGHTS, min_length=1)
    """The words that begin a second thought. A token counts if it reads like one of them, spaces and case apart."""
    student_top_k: int = Field(default=5, ge=1)
    """The paper's K: the student would not if no such token is among this number of tokens that are most likely to
    it."""
    needs_texts: ClassVar[bool] = True
    _ids: frozenset[int] | None = PrivateAttr(default=None)

    def bound(self, texts: Texts, where: str) -> Self:
        """See ``Trigger``."""
        words = {word.strip().casefold() for word in self.words}
        copy = self.model_copy()
        copy._ids = ids_where(
            texts(), lambda text: text.strip().casefold() in words, f"{where}.words", "reads like one of them"
        )
        return copy

    async def judge(self, seen: Sequence[float], places: Places, prompt: Prompt) -> Verdict:
        """See ``Trigger``."""
        ids = require_bound(self._ids, "words")
        wanted = [token in ids for token in places.scores.ids[:, 0].tolist()]
        if any(wanted):
            unlikely = await self._are_unlikely(sorted(ids), places)
            wanted = [one and other for one, other in zip(wanted, unlikely, strict=True)]
        crossing, thresholds = first_switch(
            _Verdicts(wanted), seen, places.divergences, places.token_ids, places.scores
        )
        return Verdict(crossing, places.divergences[: len(thresholds)], thresholds)

    async def _are_unlikely(self, ids: Sequence[int], places: Places) -> list[bool]:
        """Whether, at each place, K or more of the teacher's candidates are likelier to the student than ``ids``."""
        candidates = places.scores.ids
        own = await places.rows.outcomes(candidates)
        words = candidates.new_tensor(ids)
        asked = words.expand(len(candidates), -1).contiguous()
        largest = (await places.rows.outcomes(asked))[:, :-1].amax(-1, keepdim=True)
        # A word that is itself a candidate may differ from itself by a rounding error.
        others = ~(candidates.unsqueeze(-1) == words).any(-1)
        found: list[bool] = ((own[:, :-1] > largest) & others).sum(-1).ge(self.student_top_k).tolist()
        return found

    @property
    def has_threshold(self) -> bool:
        """See ``Trigger``."""
        return False

    @property
    def looked_among(self) -> tuple[str, int]:
        """See ``Trigger``."""
        return "student_top_k", self.student_top_k


class _Verdicts:
    """A ``TokenRule`` whose verdicts are known: a token stays unless a take-over is ``wanted`` there."""

    def __init__(self, wanted: Sequence[bool]) -> None:
        self._wanted = wanted

    def accepts(self, token_ids: Sequence[int], scores: "TopK") -> list[bool]:
        """See ``TokenRule``."""
        return [not one for one in self._wanted]
