"""What a run must know of its models before it begins: their tokenizer, their V, and what ends a completion."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from adaswitch.config.run import RunConfig
from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.contract.fingerprint import require_same_tokenizer, tokenizer_sha256
from adaswitch.data.model_config import read_model_config, refuse_quantized
from adaswitch.data.model_folder import STUDENT, TEACHER
from adaswitch.data.models import load_tokenizer
from adaswitch.data.stop_tokens import StopTokens, find_stop_tokens, own_stop_token_ids
from adaswitch.data.vocabulary import Vocabulary, check_ids, notes_on, vocabulary_of
from adaswitch.tasks.base import Example


@dataclass(frozen=True)
class RunModels:
    """What is known of a run's student and, if this machine has its folder, of the teacher."""

    tokenizer: PreTrainedTokenizerBase
    vocab_size: int
    """V: the number of ids that are both the student's and, as far as it is known, the teacher's."""
    stop_tokens: StopTokens
    notes: tuple[str, ...]
    """A line for everything in the student's folder that was set right."""

    def named_in(self, config: RunConfig) -> RunConfig:
        """``config`` with the stop tokens as ``student.stop_token_ids``."""
        student = config.student.model_copy(update={"stop_token_ids": self.stop_tokens.ids})
        return config.model_copy(update={"student": student})

    def check_texts(
        self, what: str, examples: Sequence[Example], all_token_ids: Sequence[Sequence[int]]
    ) -> None:
        """Raises ``ModelError`` for the first example whose ``what`` has a token that a model has no row for."""
        for example, token_ids in zip(examples, all_token_ids, strict=True):
            check_ids(token_ids, self.vocab_size, f"{example.place}: the {what}", self.tokenizer)

    def lines(self) -> list[str]:
        """What to tell people, once."""
        return [*self.notes, *self.stop_tokens.lines()]


def read_run_models(config: RunConfig, teacher_stop_token_ids: Sequence[int] = ()) -> RunModels:
    """Read the student's folder, and that of a teacher that the run serves from this machine.

    ``teacher_stop_token_ids`` are those of a teacher elsewhere, if it was asked. Raises ``ModelError`` if a folder
    cannot be used, or if both have different tokenizers.
    """
    folder = config.student.model
    tokenizer = load_tokenizer(folder, STUDENT)
    model = read_model_config(folder, STUDENT)
    refuse_quantized(model, STUDENT)
    own = vocabulary_of(tokenizer, model.num_rows, STUDENT)
    teacher = _teacher(config, tokenizer)
    vocab_size = own.size if teacher is None else min(own.size, teacher[0])
    ends = teacher_stop_token_ids if teacher is None else teacher[1]
    stop_tokens = find_stop_tokens(
        folder,
        tokenizer,
        vocab_size,
        STUDENT,
        config.student.stop_token_ids,
        [("the teacher", token) for token in ends],
    )
    notes = (*model.notes, *notes_on(own, tokenizer, STUDENT))
    return RunModels(tokenizer, vocab_size, stop_tokens, notes)


def student_vocabulary(folder: str, tokenizer: PreTrainedTokenizerBase) -> Vocabulary:
    """The vocabulary of the student in ``folder``."""
    return vocabulary_of(tokenizer, read_model_config(folder, STUDENT).num_rows, STUDENT)


def cut_to_student(serve: TeacherServiceConfig, student: str) -> TeacherServiceConfig:
    """``serve`` with ``vocab_size`` set to that of the student in the folder ``student``, unless it is set already.

    If this machine does not have both folders, or if they have different tokenizers, ``serve`` stays as it is: such a
    teacher is no teacher of this student, which the student says.
    """
    if serve.vocab_size is not None or not (os.path.isdir(student) and os.path.isdir(serve.model)):
        return serve
    own, theirs = load_tokenizer(student, STUDENT), load_tokenizer(serve.model, TEACHER)
    if tokenizer_sha256(own.get_vocab()) != tokenizer_sha256(theirs.get_vocab()):
        return serve
    return serve.model_copy(update={"vocab_size": student_vocabulary(student, own).size})


def _teacher(config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> tuple[int, list[int]] | None:
    """V and the stop tokens of the teacher that the run serves; None if its folder is not on this machine."""
    serve = config.teacher.serve
    if serve is None or not config.policy.needs_students or not os.path.isdir(serve.model):
        return None
    model, theirs = read_model_config(serve.model, TEACHER), load_tokenizer(serve.model, TEACHER)
    their_sha, own_sha = (tokenizer_sha256(side.get_vocab()) for side in (theirs, tokenizer))
    require_same_tokenizer(f"{TEACHER}: {serve.model!r}", their_sha, config.student.model, own_sha)
    size = vocabulary_of(theirs, model.num_rows, TEACHER).size
    return min(size, serve.vocab_size or size), own_stop_token_ids(serve.model, theirs, size, TEACHER)
