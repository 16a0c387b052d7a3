"""The client of our teacher service: binary answers, checked against the contract."""

import uuid
from collections.abc import Callable, Sequence

import httpx
from pydantic import BaseModel, ValidationError

from adaswitch.config.teacher import TeacherConfig
from adaswitch.contract.answer_check import MAX_SUM, check_answer
from adaswitch.contract.wire import (
    REQUEST_ID_HEADER,
    GenerateRequest,
    LogprobsDtype,
    ModelInfo,
    ScoreRequest,
    ScoreSequence,
    SequenceAnswer,
    answers_from_safetensors,
)
from adaswitch.errors import TeacherProtocolError
from adaswitch.teachers.connections import all_urls, http_client
from adaswitch.teachers.persistent_http import PersistentClient


class TeacherClient(PersistentClient):
    """Asks one teacher service, or replicas of it."""

    _model_path = "/v1/model"

    def __init__(
        self,
        http: httpx.AsyncClient,
        max_wait_s: float,
        say: Callable[[str], None] = lambda line: None,
        replicas: Sequence[str] = (),
        logprobs: LogprobsDtype = "float32",
    ) -> None:
        """``logprobs`` is the number type of the log-probabilities in answers."""
        super().__init__(http, max_wait_s, say, replicas=replicas)
        self._max_sum = MAX_SUM[logprobs]

    @classmethod
    def from_config(
        cls,
        config: TeacherConfig,
        transport: httpx.AsyncBaseTransport | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> "TeacherClient":
        """The client that ``config`` describes. Raises ``ConfigError`` as ``http_client`` does."""
        http = http_client(config, transport)
        return cls(http, config.max_wait_s, say, all_urls(config), config.logprobs)

    async def _info_of(self, response: httpx.Response) -> ModelInfo:
        try:
            return ModelInfo.model_validate_json(response.content)
        except ValidationError as error:
            finding = error.errors(include_url=False)[0]["msg"]
            url = f"{self._origin(response)}{self._model_path}"
            raise TeacherProtocolError(f"{url} is not a teacher's: {finding}") from error

    async def wait_until_ready(self, timeout_s: float, on_wait: Callable[[str], None]) -> None:
        """Return once ``/readyz`` answers 200. Raises ``TeacherUnavailableError`` after ``timeout_s`` seconds.

        ``on_wait`` is called with a line whenever the reason for waiting changes.
        """
        await self._wait_until_answered("/readyz", timeout_s, on_wait)

    async def score(self, sequences: list[ScoreSequence], top_k: int) -> list[SequenceAnswer]:
        """``POST /v1/score``: ``len - start + 1`` rows for each sequence."""
        info = await self.model_info()
        body = ScoreRequest(sequences=sequences, top_k=top_k)
        answers = await self._ask("/v1/score", body, len(sequences))
        for sequence, answer in zip(sequences, answers, strict=True):
            if answer.token_ids.tolist() != sequence.token_ids[sequence.start :]:
                raise TeacherProtocolError("the teacher scored other tokens than it was sent")
            check_answer(answer, len(answer.token_ids) + 1, top_k, info, self._max_sum)
        return answers

    async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
        """``POST /v1/generate``: one row for each new token."""
        info = await self.model_info()
        answers = await self._ask("/v1/generate", request, len(request.prompts))
        for prompt, answer in zip(request.prompts, answers, strict=True):
            num_tokens = len(answer.token_ids)
            if not 1 <= num_tokens <= prompt.max_tokens or answer.finish_reason not in ("stop", "length"):
                raise TeacherProtocolError(
                    f"the teacher wrote {num_tokens} tokens ({answer.finish_reason}) where 1 to "
                    f"{prompt.max_tokens} were asked"
                )
            check_answer(answer, num_tokens, request.top_k, info, self._max_sum)
        return answers

    async def _ask(self, path: str, body: BaseModel, num_sequences: int) -> list[SequenceAnswer]:
        content = body.model_dump_json().encode()
        # Every try has the same id, so that the service's log shows all tries as one request.
        headers = {REQUEST_ID_HEADER: uuid.uuid4().hex}
        response = await self._persist(lambda: self._ask_once("POST", path, content, headers))
        answers = answers_from_safetensors(response.content)
        if len(answers) != num_sequences:
            raise TeacherProtocolError(f"{num_sequences} sequences sent, {len(answers)} answered")
        return answers
