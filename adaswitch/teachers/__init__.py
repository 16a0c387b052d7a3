"""Clients of a teacher: of our own service or of any vLLM server, and of several servers of the same teacher."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adaswitch.config.run import RunConfig
    from adaswitch.teachers.native import TeacherClient
    from adaswitch.teachers.openai import OpenAIClient


def connect_teacher(
    config: "RunConfig", say: Callable[[str], None] = lambda line: None
) -> "TeacherClient | OpenAIClient":
    """The client that a run's settings ask for.

    Raises ``UserError`` if the address is not valid, or if the student has no tokenizer.
    """
    # Imported here, so that a program that only asks whether a teacher is ready need not import torch.
    from adaswitch.data.models import load_tokenizer
    from adaswitch.data.run_models import student_vocabulary
    from adaswitch.teachers.native import TeacherClient
    from adaswitch.teachers.openai import OpenAIClient

    if config.teacher.api == "openai":
        tokenizer = load_tokenizer(config.student.model)
        vocab_size = student_vocabulary(config.student.model, tokenizer).size
        return OpenAIClient.from_config(config.teacher, tokenizer, say=say, vocab_size=vocab_size)
    return TeacherClient.from_config(config.teacher, say=say)
