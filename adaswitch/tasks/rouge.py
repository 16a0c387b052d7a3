"""ROUGE-1, ROUGE-2 and ROUGE-L: F1 with Porter's stemmer, computed by Google's ``rouge-score``.

With several references the mean of the scores is taken, as ROUGE-1.5.5 does by default, and not the best score.
"""

from collections.abc import Sequence
from statistics import fmean

from adaswitch.errors import UnmarkedError
from adaswitch.tasks.base import Marks

METRICS = ("rougeL", "rouge1", "rouge2")


class Rouge:
    """Compares texts by their words of the letters a-z and digits. ``rouge-score`` reads no other words."""

    def __init__(self) -> None:
        # The import takes most of a second, so that only tasks that use ROUGE should wait for it.
        from rouge_score.rouge_scorer import RougeScorer
        from rouge_score.tokenizers import DefaultTokenizer

        self._tokenizer = DefaultTokenizer(use_stemmer=True)
        self._scorer = RougeScorer(list(METRICS), tokenizer=self._tokenizer)

    def mark(self, completion: str, references: Sequence[str]) -> Marks:
        """F1 by the metric's name, each the mean over ``references``.

        Raises ``UnmarkedError`` for a reference without words. Otherwise a reference in a script other than Latin
        would give every completion 0.
        """
        for reference in references:
            if not self._tokenizer.tokenize(reference):
                raise UnmarkedError("the reference has no word that ROUGE reads (letters a-z, digits)")
        scores = [self._scorer.score(reference, completion) for reference in references]
        return {metric: fmean(score[metric].fmeasure for score in scores) for metric in METRICS}
