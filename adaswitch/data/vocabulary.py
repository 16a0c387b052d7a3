"""V, the number of token ids that a model or a pair of models can use, found in one place.

A tokenizer's ids may have gaps, and its highest id may lie beyond the rows of the model's embedding: a ``[PAD]`` that
was added without a row, or a token for images. An embedding may also have more rows than there are ids; these are
padding. So a model's V is the smaller of the highest id + 1 and its rows, and that of a pair is the smaller of both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from adaswitch.errors import ModelError


class HasVocabulary(Protocol):
    """The part of a tokenizer that is needed here."""

    def get_vocab(self) -> Mapping[str, int]:
        """The id of each token's text."""


@dataclass(frozen=True)
class Vocabulary:
    """The ids of one model: those that its tokenizer gives out, and those that its embedding has rows for."""

    num_ids: int
    """The tokenizer's highest id + 1. With gaps it is more than the number of tokens."""
    num_rows: int

    @property
    def size(self) -> int:
        """V: the ids below it have a row, and may be fed to the model and drawn from it."""
        return min(self.num_ids, self.num_rows)


def vocabulary_of(tokenizer: HasVocabulary, num_rows: int, setting: str) -> Vocabulary:
    """The vocabulary of a model whose embedding has ``num_rows``. Raises ``ModelError`` if there are no tokens."""
    num_ids = max(tokenizer.get_vocab().values(), default=-1) + 1
    if min(num_ids, num_rows) < 1:
        raise ModelError(
            f"{setting}: the tokenizer has {num_ids} tokens and the embedding {num_rows} rows: take another"
        )
    return Vocabulary(num_ids, num_rows)


def notes_on(vocabulary: Vocabulary, tokenizer: HasVocabulary, setting: str) -> list[str]:
    """A line on the tokens that have no row in the model, which can be neither read nor written; empty without any."""
    beyond = sorted((i, text) for text, i in tokenizer.get_vocab().items() if i >= vocabulary.num_rows)
    if not beyond:
        return []
    shown = ", ".join(f"{i} {text!r}" for i, text in beyond[:3]) + (", .." if len(beyond) > 3 else "")
    return [
        f"{setting}: {len(beyond)} of the tokenizer's tokens have no row in the model, which has "
        f"{vocabulary.num_rows}, and are never written: {shown}"
    ]


def check_ids(token_ids: Sequence[int], vocab_size: int, what: str, tokenizer: HasVocabulary) -> None:
    """Raises ``ModelError`` if ``what``, as in ``train.jsonl, line 3: the prompt``, has a token without a row."""
    if not token_ids or (highest := max(token_ids)) < vocab_size:
        return
    text = next((text for text, i in tokenizer.get_vocab().items() if i == highest), "")
    raise ModelError(
        f"{what} has token {highest} ({text!r}), and the models have rows for {vocab_size} tokens only: leave the "
        "record out, or resize the embedding of the model folder to the tokenizer"
    )


def shared_size(student: Vocabulary, teacher_size: int, teacher: str) -> int:
    """V of the pair: ``teacher_size`` is what the teacher's distributions are over.

    Raises ``ModelError`` if that is more than the student has: candidates and tail would count tokens that the student
    cannot write.
    """
    if teacher_size <= student.size:
        return teacher_size
    raise ModelError(
        f"the teacher {teacher!r} gives distributions over {teacher_size} tokens, and the student has rows for "
        f"{student.size}: start the teacher with --vocab-size {student.size} (teacher.serve.vocab_size), or resize the "
        "student's embedding to the tokenizer"
    )
