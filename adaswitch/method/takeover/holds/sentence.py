"""A leg that ends with a sentence, or with whatever a list of marks ends: a paragraph, a line, a step."""

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr

from adaswitch.method.takeover.holds.base import Hold
from adaswitch.method.takeover.marks import Mark, Texts, ids_where, require_bound

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


def ends_with(text: str, marks: tuple[str, ...]) -> bool:
    """Whether the token's ``text`` ends with any of ``marks``, apart from spaces behind it."""
    return text.rstrip(" ").endswith(marks) or text.endswith(marks)


class Sentence(Hold):
    """To the end of a sentence, or of several."""

    kind: Literal["sentence"] = "sentence"
    num: int = Field(default=1, ge=1)
    """The number of sentences that the teacher writes before the student goes on. The first is the one that was
    begun."""
    ends: list[Mark] = Field(default=[".", "!", "?", "\n"], min_length=1)
    """The marks that end a sentence. A token ends it if the token's own text ends with any of them. A decimal point
    that is a token of its own counts as well."""
    most_tokens: int = Field(default=64, ge=1)
    """The teacher hands back after this number of tokens even without the end of a sentence."""
    needs_texts: ClassVar[bool] = True
    _ids: frozenset[int] | None = PrivateAttr(default=None)

    def bound(self, texts: Texts, where: str) -> Self:
        """See ``Hold``."""
        marks = tuple(self.ends)
        copy = self.model_copy()
        copy._ids = ids_where(
            texts(), lambda text: ends_with(text, marks), f"{where}.ends", "ends with any of them"
        )
        return copy

    async def guide(self, stages: "Stages") -> None:
        """See ``Hold``. The teacher is told where to stop, so none of its tokens is thrown away."""
        ends = require_bound(self._ids, "ends")
        begun = len(stages.token_ids)
        for _ in range(self.num):
            num_left = self.most_tokens - (len(stages.token_ids) - begun)
            if num_left < 1 or not stages.teacher_may_write:
                return
            await stages.guide(num_left, ends)
