"""ROUGE-1, ROUGE-2 and ROUGE-L: F1, with Porter's stemmer, by Google's ``rouge-score``.

Against several references the mean is taken, as ROUGE-1.5.5 does by default, not the best.
"""

from collections.abc import Sequence
from statistics import fmean

from adaswitch.errors import UnmarkedError
from adaswitch.tasks.base import Marks

METRICS = ("rougeL", "rouge1", "rouge2")


class Rouge:
    """Compares texts by their words of the letters a-z and digits: what ``rouge-score`` does not read is no word."""

    def __init__(self) -> None:
        # Its import takes most of a second, which only those who summarise need to pay.
        from rouge_score.rouge_scorer import RougeScorer
        from rouge_score.tokenizers import DefaultTokenizer

        self._tokenizer = DefaultTokenizer(use_stemmer=True)
        self._scorer = RougeScorer(list(METRICS), tokenizer=self._tokenizer)

    def mark(self, completion: str, references: Sequence[str]) -> Marks:
        """F1 by the metric's name, the mean over ``references``.

        Raises ``UnmarkedError`` for a reference without a word: in another script than the Latin one every
        completion would get 0.
        """
        for reference in references:
            if not self._tokenizer.tokenize(reference):
                raise UnmarkedError("the reference has no word that ROUGE reads (letters a-z, digits)")
        scores = [self._scorer.score(reference, completion) for reference in references]
        return {metric: fmean(score[metric].fmeasure for score in scores) for metric in METRICS}
