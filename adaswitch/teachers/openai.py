"""The client of a stock vLLM server as the teacher, over OpenAI-compatible routes: the same answers, as JSON.

``/v1/completions`` takes token ids, and gives the log-probabilities of the prompt's tokens (``prompt_logprobs``) and of
the tokens that the server writes (``logprobs``): natural logs of the raw model at temperature 1. The client looks each
log-probability up by its token id; a missing one is an error. A vLLM server has no fingerprint of its tokenizer, so
the client asks the server to spell some of the student's tokens instead.
"""

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import httpx
import numpy as np

from adaswitch.config.teacher import TeacherConfig
from adaswitch.contract.answer_check import check_answer
from adaswitch.contract.fingerprint import tokenizer_sha256
from adaswitch.contract.wire import (
    JSON_TYPE,
    REQUEST_ID_HEADER,
    GeneratePrompt,
    GenerateRequest,
    ModelInfo,
    ScoreSequence,
    SequenceAnswer,
)
from adaswitch.errors import ModelError, NonFiniteError, TeacherProtocolError, TeacherRejectedError
from adaswitch.teachers.connections import all_urls, http_client
from adaswitch.teachers.persistent_http import PersistentClient
from adaswitch.teachers.replicas import REPLICA

MAX_REQUEST_TOKENS = 65_536
NUM_SPELT = 256
"""Number of tokens, spread over the vocabulary, that teacher and student must spell alike."""
IMPOSSIBLE = -9999.0
"""The number that vLLM sends for minus infinity, which JSON does not have."""
PLAIN_SAMPLING = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
"""Sent with every prompt, or the server would take these settings from the model folder's generation settings."""
TOKEN_PREFIX = "token_id:"
JSON_ANSWER = {"Accept": JSON_TYPE}

Row = list[tuple[int, float]]
"""Candidates (token ids) with their log-probabilities, the most likely first."""


class Tokenizer(Protocol):
    """What the client needs of the student's tokenizer."""

    def get_vocab(self) -> dict[str, int]:
        """The vocabulary: the id of each token's text."""

    def decode(self, token_ids: list[int]) -> str | list[str]:
        """The text of tokens."""


class OpenAIClient(PersistentClient):
    """Asks a vLLM server, and gives the same answers as ``TeacherClient``."""

    _model_path = "/v1/models"

    def __init__(
        self,
        http: httpx.AsyncClient,
        tokenizer: Tokenizer,
        model: str | None,
        max_wait_s: float,
        say: Callable[[str], None] = lambda line: None,
        replicas: Sequence[str] = (),
        vocab_size: int | None = None,
    ) -> None:
        """``tokenizer`` is the student's. ``model`` is the teacher's name on the server; None is the first listed.

        ``vocab_size`` is the student's V; None for all ids of the tokenizer.
        """
        super().__init__(http, max_wait_s, say, replicas=replicas)
        self._tokenizer = tokenizer
        self._model = model
        self._vocab_size = vocab_size or max(tokenizer.get_vocab().values()) + 1

    @classmethod
    def from_config(
        cls,
        config: TeacherConfig,
        tokenizer: Tokenizer,
        transport: httpx.AsyncBaseTransport | None = None,
        say: Callable[[str], None] = lambda line: None,
        vocab_size: int | None = None,
    ) -> "OpenAIClient":
        """The client that ``config`` describes, with the student's ``tokenizer`` and V. Raises as ``http_client``."""
        http = http_client(config, transport)
        return cls(http, tokenizer, config.model, config.max_wait_s, say, all_urls(config), vocab_size)

    async def wait_until_ready(self, timeout_s: float, on_wait: Callable[[str], None]) -> None:
        """Return once ``/health`` answers 200. Raises ``TeacherUnavailableError`` after ``timeout_s`` seconds."""
        await self._wait_until_answered("/health", timeout_s, on_wait)

    async def _info_of(self, response: httpx.Response) -> ModelInfo:
        """Raises ``ModelError`` unless the server has the model, and spells tokens as the student's tokenizer does."""
        url = self._origin(response)
        listed = _document(response, url + self._model_path).get("data", [])
        entry = next((entry for entry in listed if self._model in (None, entry["id"])), None)
        if entry is None:
            names = ", ".join(entry["id"] for entry in listed) or "none"
            raise ModelError(f"teacher.model: {self._model!r} is not served at {url} ({names})")
        self._model = entry["id"]
        await self._require_same_tokenizer(response.extensions.get(REPLICA), url)
        vocabulary = self._tokenizer.get_vocab()
        return ModelInfo(
            model=entry["id"],
            backend="openai",
            dtype="unknown",
            vocab_size=self._vocab_size,
            max_model_len=entry.get("max_model_len") or 2**31 - 1,
            max_top_k=self._vocab_size,
            max_request_tokens=MAX_REQUEST_TOKENS,
            tokenizer_sha256=tokenizer_sha256(vocabulary),
        )

    async def _require_same_tokenizer(self, replica: str | None, url: str) -> None:
        # The ids of a tokenizer may have gaps, and those from V on need not be known to the server.
        known = sorted({token for token in self._tokenizer.get_vocab().values() if token < self._vocab_size})
        for token in sorted({known[int(i)] for i in np.linspace(0, len(known) - 1, NUM_SPELT)}):
            ours = self._tokenizer.decode([token])
            body = json.dumps({"model": self._model, "tokens": [token]}).encode()
            response = await self._send("POST", "/detokenize", body, JSON_ANSWER, replica)
            theirs = _document(response, url + "/detokenize").get("prompt")
            if theirs != ours:
                raise ModelError(
                    f"the teacher {self._model!r} at {url} and the student have different tokenizers: token {token} "
                    f"is {theirs!r} there and {ours!r} here; take a pair of one model family"
                )

    async def score(self, sequences: list[ScoreSequence], top_k: int) -> list[SequenceAnswer]:
        """The rows of each sequence from its ``start`` on: those of the prompt, and the row of the token after it."""
        info = await self.model_info()
        k = info.vocab_size if top_k == -1 else top_k
        body = {
            "prompt": [sequence.token_ids for sequence in sequences],
            "prompt_logprobs": k,
            "max_tokens": 1,
            "temperature": 0.0,
        }
        choices = await self._complete(body, k, len(sequences))
        answers = [_scored(sequence, choice, k) for sequence, choice in zip(sequences, choices, strict=True)]
        for answer in answers:
            self._require_known(answer)
            check_answer(answer, len(answer.token_ids) + 1, k, info)
        return answers

    async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
        """Send one request for each prompt, as each prompt has its own seed and length."""
        return list(await asyncio.gather(*(self._continue(prompt, request) for prompt in request.prompts)))

    async def _continue(self, prompt: GeneratePrompt, request: GenerateRequest) -> SequenceAnswer:
        info = await self.model_info()
        k = info.vocab_size if request.top_k == -1 else request.top_k
        body = {
            "prompt": prompt.token_ids,
            "max_tokens": prompt.max_tokens,
            "seed": prompt.seed,
            "stop_token_ids": prompt.stop_token_ids,
            "temperature": request.temperature,
            "top_p": request.top_p,
            **PLAIN_SAMPLING,
        }
        [choice] = await self._complete(body, k, 1)
        answer = _written(choice, k)
        num_tokens = len(answer.token_ids)
        if not 1 <= num_tokens <= prompt.max_tokens or answer.finish_reason not in ("stop", "length"):
            raise TeacherProtocolError(
                f"the teacher wrote {num_tokens} tokens ({answer.finish_reason}) where 1 to {prompt.max_tokens} "
                "were asked"
            )
        self._require_known(answer)
        check_answer(answer, num_tokens, k, info)
        return answer

    def _require_known(self, answer: SequenceAnswer) -> None:
        """Raises ``TeacherProtocolError`` for a token from V on. A stock server counts padding rows as tokens too."""
        highest = max(int(ids.max()) if ids.size else 0 for ids in (answer.top_ids, answer.token_ids))
        if highest >= self._vocab_size:
            raise TeacherProtocolError(
                f"the teacher {self._model!r} gives probability to id {highest}, which is not among the student's "
                f"{self._vocab_size} tokens: serve a model whose embedding has as many rows as the student's, or serve "
                "it with python -m services.teacher, which leaves the other rows out"
            )

    async def _complete(self, body: Mapping[str, object], k: int, num_choices: int) -> list[dict[str, Any]]:
        """The choices of ``/v1/completions``, in the order of the prompts."""
        settings = {
            "model": self._model,
            "logprobs": k,
            "ignore_eos": True,  # only stop_token_ids may end a completion
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
        }
        try:
            document = await self._json("/v1/completions", {**body, **settings})
        except TeacherRejectedError as error:
            if "logprobs" not in str(error):
                raise
            raise TeacherRejectedError(
                f"{error}: start the server with --max-logprobs {k}, or lower teacher.top_k",
                status=error.status,
                code=error.code,
            ) from None
        choices = sorted(document.get("choices", []), key=lambda choice: choice["index"])
        if len(choices) != num_choices:
            raise TeacherProtocolError(f"{num_choices} completions asked, {len(choices)} came")
        return choices

    async def _json(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        content = json.dumps(body).encode()
        # Every try has the same id, so that the server's log shows all tries as one request.
        headers = {**JSON_ANSWER, REQUEST_ID_HEADER: uuid.uuid4().hex}
        response = await self._persist(lambda: self._ask_once("POST", path, content, headers))
        return _document(response, self._origin(response) + path)


def _document(response: httpx.Response, url: str) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError as error:
        raise TeacherProtocolError(f"{url} does not answer JSON: {error}") from None
    if not isinstance(document, dict):
        raise TeacherProtocolError(f"{url} does not answer a JSON object")
    return document


def _scored(sequence: ScoreSequence, choice: Mapping[str, Any], k: int) -> SequenceAnswer:
    rows = choice.get("prompt_logprobs") or []
    if len(rows) != len(sequence.token_ids):
        raise TeacherProtocolError(f"{len(sequence.token_ids)} tokens scored, {len(rows)} rows came")
    token_ids = sequence.token_ids[sequence.start :]
    tables = [_by_id(row) for row in rows[sequence.start :]]
    next_row = _generated_rows(choice)[:1]
    return _answer(token_ids, tables, [*tables, *next_row], k)


def _written(choice: Mapping[str, Any], k: int) -> SequenceAnswer:
    token_ids = choice.get("token_ids") or []
    tables = _generated_rows(choice)
    if len(tables) != len(token_ids):
        raise TeacherProtocolError(f"{len(token_ids)} tokens written, {len(tables)} rows came")
    return _answer(token_ids, tables, tables, k, choice.get("finish_reason"))


def _by_id(row: object) -> dict[int, float]:
    """A row of ``prompt_logprobs``: ``{"17": {"logprob": -0.5, ...}, ...}``."""
    try:
        return {int(token): float(entry["logprob"]) for token, entry in row.items()}  # type: ignore[attr-defined]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TeacherProtocolError(f"a row of prompt_logprobs cannot be read: {error!r}") from None


def _generated_rows(choice: Mapping[str, Any]) -> list[dict[int, float]]:
    """``logprobs.top_logprobs``: ``[{"token_id:17": -0.5, ...}, ...]``."""
    try:
        return [
            {int(token.removeprefix(TOKEN_PREFIX)): float(logprob) for token, logprob in row.items()}
            for row in choice["logprobs"]["top_logprobs"]
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TeacherProtocolError(f"logprobs.top_logprobs cannot be read: {error!r}") from None


def _answer(
    token_ids: Sequence[int],
    tables: Sequence[Mapping[int, float]],
    rows: Sequence[Mapping[int, float]],
    k: int,
    finish_reason: Any = None,  # noqa: ANN401 - as the server sends it, and checked
) -> SequenceAnswer:
    """The log-probability of each of ``token_ids``, from its table in ``tables``, and the k most likely of each row."""
    logprobs = []
    for token, table in zip(token_ids, tables, strict=True):
        if token not in table:
            raise TeacherProtocolError(f"token {token} came without its log-probability")
        logprobs.append(table[token])
    top = [_most_likely(row, k) for row in rows]
    if min([*logprobs, *(value for row in top for _, value in row)], default=0.0) <= IMPOSSIBLE:
        raise NonFiniteError("a log-probability of the teacher's is minus infinity")
    pairs = np.array(top, dtype=np.float64).reshape(len(top), k, 2)
    return SequenceAnswer(
        token_ids=np.array(token_ids, dtype=np.int32),
        token_logprobs=np.array(logprobs, dtype=np.float32),
        top_ids=pairs[:, :, 0].astype(np.int32),
        top_logprobs=pairs[:, :, 1].astype(np.float32),
        finish_reason=finish_reason,
    )


def _most_likely(row: Mapping[int, float], k: int) -> Row:
    """The k most likely tokens of ``row``, which has one more entry if the token at its position is none of them."""
    if len(row) < k:
        raise TeacherProtocolError(f"{k} log-probabilities a row asked, {len(row)} came")
    return sorted(row.items(), key=lambda entry: (-entry[1], entry[0]))[:k]
