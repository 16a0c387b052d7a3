"""The client that a run's settings ask for: of our service, or of any vLLM server."""

from collections.abc import Callable

from adaswitch.config import RunConfig
from adaswitch.io.models import load_tokenizer
from adaswitch.io.openai_client import OpenAIClient
from adaswitch.io.teacher_client import TeacherClient


def connect_teacher(
    config: RunConfig, say: Callable[[str], None] = lambda line: None
) -> TeacherClient | OpenAIClient:
    """Raises ``UserError`` for an address that nobody could have, or a student without a tokenizer."""
    if config.teacher.api == "openai":
        return OpenAIClient.from_config(config.teacher, load_tokenizer(config.student.model), say=say)
    return TeacherClient.from_config(config.teacher, say=say)
