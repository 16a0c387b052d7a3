"""Asks a teacher that runs elsewhere which tokens end its texts, before a run begins."""

import httpx
from pydantic import ValidationError

from adaswitch.config.run import RunConfig
from adaswitch.contract.wire import ModelInfo
from adaswitch.teachers.connections import all_urls, headers_of

ANSWER_TIMEOUT_S = 5.0


def teacher_stop_token_ids(
    config: RunConfig, transport: httpx.BaseTransport | None = None
) -> tuple[list[int], str | None]:
    """The stop tokens of the run's teacher; and if the teacher should say them but does not, a line on that.

    Nothing is asked if the run has no such teacher: if it serves one itself, whose folder says it, if rollouts are
    replayed, if the settings name the stop tokens, or if the teacher is a vLLM server, which has no such route.
    """
    teacher = config.teacher
    own = teacher.serve is not None or not config.policy.needs_students
    if own or teacher.api == "openai" or config.student.stop_token_ids is not None:
        return [], None
    limits = httpx.Timeout(ANSWER_TIMEOUT_S, connect=min(teacher.connect_timeout_s, ANSWER_TIMEOUT_S))
    with httpx.Client(headers=headers_of(teacher), timeout=limits, transport=transport) as http:
        for url in all_urls(teacher):
            try:
                response = http.get(f"{url}/v1/model").raise_for_status()
                return ModelInfo.model_validate_json(response.content).stop_token_ids, None
            except (httpx.HTTPError, ValidationError):
                continue  # another replica may answer
    return [], (
        f"the teacher at {teacher.url} does not say yet which tokens end its texts: if they are not among the "
        "student's, name all as student.stop_token_ids"
    )
