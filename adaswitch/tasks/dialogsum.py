"""DialogSum (arXiv 2105.06762): summaries of everyday dialogues, marked by ROUGE.

Training and development records have one ``summary``. Test records have ``summary1`` to ``summary3`` from three
people, and a completion gets the mean of its scores against the three summaries. The authors' baseline program
scores against one summary at a time, with the stemmer on.
"""

from collections.abc import Mapping
from typing import Literal

from adaswitch.tasks.base import ChatTask, Example, Marks, require_references
from adaswitch.tasks.fields import text_field
from adaswitch.tasks.rouge import METRICS, Rouge

_TEST_FIELDS = ("summary1", "summary2", "summary3")


class DialogsumTask(ChatTask):
    """Summaries of everyday dialogues (DialogSum), marked by ROUGE-L, ROUGE-1 and ROUGE-2."""

    kind: Literal["dialogsum"] = "dialogsum"
    prompt_prefix: str = "Summarize the following dialogue.\n\n"
    """A text that is put before every dialogue."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """See ``Task``."""
        return METRICS

    @property
    def default_new_tokens(self) -> int:
        """See ``Task``."""
        return 128

    def example(self, record: Mapping[str, object], number: int, source: str) -> Example:
        """``record`` as an example, whose reference is the first summary.

        Raises ``DataError`` with ``source``, the line ``number`` and the field if a field is missing.
        """
        dialogue = text_field(record, "dialogue", number, source)
        fields = _TEST_FIELDS if "summary1" in record else ("summary",)
        summaries = tuple(text_field(record, name, number, source, may_be_blank=True) for name in fields)
        return Example(
            f"{self.prompt_prefix}{dialogue}{self.prompt_suffix}",
            summaries[0],
            number,
            references=summaries,
            record=record,
            source=source,
            frame=(self.prompt_prefix, self.prompt_suffix),
        )

    def mark(self, completion: str, example: Example) -> Marks:
        """ROUGE of ``completion`` against all summaries; see ``Rouge.mark``."""
        return Rouge().mark(completion, require_references(example))
