"""DialogSum (arXiv 2105.06762): summaries of everyday dialogues, marked by ROUGE.

Training and development records have one ``summary``; test records have ``summary1`` to ``summary3``, by three
people, and a completion gets the mean of its scores against each. The authors' baseline program scores one of
them at a time, with the stemmer on.
"""

from collections.abc import Mapping

from adaswitch.tasks.base import Example, Marks, require_references, text_field
from adaswitch.tasks.rouge import METRICS, Rouge

_TEST_FIELDS = ("summary1", "summary2", "summary3")


class DialogsumTask:
    """Marks ROUGE-L, ROUGE-1 and ROUGE-2."""

    name = "dialogsum"
    metrics: tuple[str, ...] = METRICS

    def __init__(self, chat_template: bool = True, prompt_prefix: str = "", prompt_suffix: str = "") -> None:
        """``prompt_prefix`` and ``prompt_suffix`` stand around every dialogue as they are."""
        self.chat_template = chat_template
        self.prompt_prefix = prompt_prefix
        self.prompt_suffix = prompt_suffix
        self._rouge = Rouge()

    def example(self, record: Mapping[str, object], number: int, source: str) -> Example:
        """``record`` as an example; its reference is the first summary.

        Raises ``DataError`` with ``source``, the line ``number`` and the field where one is missing.
        """
        dialogue = text_field(record, "dialogue", number, source)
        fields = _TEST_FIELDS if "summary1" in record else ("summary",)
        summaries = tuple(text_field(record, name, number, source, may_be_blank=True) for name in fields)
        prompt = f"{self.prompt_prefix}{dialogue}{self.prompt_suffix}"
        return Example(prompt, summaries[0], number, references=summaries, record=record, source=source)

    def mark(self, completion: str, example: Example) -> Marks:
        """ROUGE of ``completion`` against every summary."""
        return self._rouge.mark(completion, require_references(example))
