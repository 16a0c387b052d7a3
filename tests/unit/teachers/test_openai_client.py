"""A stock vLLM server as the teacher: its JSON read right, and never taken for more than it says."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from adaswitch.config.parsing import parse_config
from adaswitch.config.teacher import TeacherConfig
from adaswitch.contract.fingerprint import tokenizer_sha256
from adaswitch.contract.wire import GeneratePrompt, GenerateRequest, ScoreSequence
from adaswitch.errors import ModelError, NonFiniteError, TeacherProtocolError, TeacherRejectedError
from adaswitch.teachers import connect_teacher
from adaswitch.teachers.native import TeacherClient
from adaswitch.teachers.openai import OpenAIClient
from tests.teacher_fakes import VOCAB_SIZE, fake_answer, fake_logprobs

SEQUENCES = [ScoreSequence(token_ids=[3, 1, 4], start=1), ScoreSequence(token_ids=[2, 7], start=2)]
REQUEST = GenerateRequest(
    prompts=[GeneratePrompt(token_ids=[3, 1], max_tokens=4, seed=7, stop_token_ids=[9])], top_k=3
)
Damage = Callable[[dict[str, Any]], None]


class Letters:
    """A tokenizer whose token n is the n-th letter."""

    def get_vocab(self) -> dict[str, int]:
        return {chr(97 + i): i for i in range(VOCAB_SIZE)}

    def decode(self, token_ids: list[int]) -> str:
        return "".join(chr(97 + i) for i in token_ids)


class Server:
    """Answers as vLLM 0.32 does, from the arithmetic of ``fake_logprobs``. ``damage`` spoils a completion."""

    def __init__(self, damage: Damage = lambda document: None) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.damage = damage
        self.spells = Letters()
        self.name = "big"

    def handle(self, request: httpx.Request) -> httpx.Response:
        match request.url.path:
            case "/health":
                return httpx.Response(200)
            case "/v1/models":
                return httpx.Response(200, json={"data": [{"id": self.name, "max_model_len": 16}]})
            case "/detokenize":
                tokens = json.loads(request.content)["tokens"]
                return httpx.Response(200, json={"prompt": self.spells.decode(tokens)})
            case "/v1/completions":
                return self._complete(json.loads(request.content))
        return httpx.Response(404)

    def _complete(self, body: dict[str, Any]) -> httpx.Response:
        self.bodies.append(body)
        prompts = body["prompt"] if isinstance(body["prompt"][0], list) else [body["prompt"]]
        choices = [self._choice(i, prompt, body) for i, prompt in enumerate(prompts)]
        document = {"choices": choices[::-1]}
        self.damage(document)
        return httpx.Response(200, json=document)

    def _choice(self, index: int, prompt: list[int], body: dict[str, Any]) -> dict[str, Any]:
        written: list[int] = []
        while len(written) < body["max_tokens"]:
            written.append(int(fake_logprobs([*prompt, *written]).argmin()))
        tables = [
            _entries([*prompt, *written[:j]], token, body["logprobs"]) for j, token in enumerate(written)
        ]
        choice: dict[str, Any] = {
            "index": index,
            "finish_reason": "length",
            "token_ids": written,
            "logprobs": {
                "top_logprobs": [{f"token_id:{t}": v for t, v in table.items()} for table in tables]
            },
        }
        if "prompt_logprobs" in body:
            rows = [_entries(prompt[:i], token, body["prompt_logprobs"]) for i, token in enumerate(prompt)]
            entries = [{str(t): {"logprob": v, "rank": 1} for t, v in row.items()} for row in rows[1:]]
            choice["prompt_logprobs"] = [None, *entries]
        return choice


def _entries(context: list[int], token: int, k: int) -> dict[int, float]:
    """The token at a place first, as vLLM has it, then the k most likely."""
    row = fake_logprobs(context)
    return {i: float(row[i]) for i in [token, *np.argsort(-row, kind="stable")[:k].tolist()]}


def make_client(server: Server, **changes: object) -> OpenAIClient:
    config = TeacherConfig.model_validate({"api": "openai", "url": "http://big:8000", **changes})
    return OpenAIClient.from_config(config, Letters(), transport=httpx.MockTransport(server.handle))


@pytest.mark.parametrize("top_k", [1, 3, -1])
async def test_scores_are_those_of_the_model(top_k: int) -> None:
    k = VOCAB_SIZE if top_k == -1 else top_k
    for sequence, answer in zip(SEQUENCES, await make_client(Server()).score(SEQUENCES, top_k), strict=True):
        ids, start = sequence.token_ids, sequence.start
        expected = fake_answer(ids[:start], ids[start:], len(ids) - start + 1, k)
        assert answer.token_ids.tolist() == ids[start:]
        np.testing.assert_array_equal(answer.top_ids, expected.top_ids)
        np.testing.assert_allclose(answer.top_logprobs, expected.top_logprobs, rtol=1e-6)
        np.testing.assert_allclose(answer.token_logprobs, expected.token_logprobs, rtol=1e-6)


async def test_a_continuation_with_the_rows_that_it_was_drawn_from() -> None:
    server = Server()
    (answer,) = await make_client(server).generate(REQUEST)
    expected = fake_answer([3, 1], answer.token_ids.tolist(), 4, 3, "length")
    np.testing.assert_array_equal(answer.top_ids, expected.top_ids)
    np.testing.assert_allclose(answer.token_logprobs, expected.token_logprobs, rtol=1e-6)
    assert answer.finish_reason == "length"
    (body,) = server.bodies
    asked = {
        name: body[name] for name in ("model", "seed", "stop_token_ids", "ignore_eos", "temperature", "top_p")
    }
    assert asked == {
        "model": "big",
        "seed": 7,
        "stop_token_ids": [9],
        "ignore_eos": True,
        "temperature": 1.0,
        "top_p": 1.0,
    }


async def test_what_is_served_and_under_which_name() -> None:
    client = make_client(Server())
    await client.wait_until_ready(0.0, pytest.fail)
    info = await client.model_info()
    assert (info.model, info.backend, info.vocab_size, info.max_model_len) == (
        "big",
        "openai",
        VOCAB_SIZE,
        16,
    )
    assert info.tokenizer_sha256 == tokenizer_sha256(Letters().get_vocab())
    with pytest.raises(ModelError, match=r"teacher\.model: 'small' is not served at http://big:8000 \(big\)"):
        await make_client(Server(), model="small").model_info()


async def test_a_server_that_spells_otherwise_is_refused() -> None:
    server = Server()
    server.spells.decode = lambda token_ids: "?"  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="token 0 is '\\?' there and 'a' here"):
        await make_client(server).model_info()


class GappyLetters(Letters):
    """The same without the token 9: the ids have a gap, and the highest stays."""

    def get_vocab(self) -> dict[str, int]:
        return {text: token for text, token in super().get_vocab().items() if token != 9}

    def decode(self, token_ids: list[int]) -> str:
        assert 9 not in token_ids
        return super().decode(token_ids)


async def test_ids_with_gaps_are_counted_to_the_highest() -> None:
    server = Server()
    server.spells = GappyLetters()
    config = TeacherConfig(api="openai", url="http://big:8000")
    client = OpenAIClient.from_config(config, GappyLetters(), transport=httpx.MockTransport(server.handle))
    info = await client.model_info()
    assert (info.vocab_size, info.max_top_k) == (VOCAB_SIZE, VOCAB_SIZE)
    [answer, _] = await client.score(SEQUENCES, -1)
    assert sorted(answer.top_ids[0].tolist()) == list(range(VOCAB_SIZE))


async def test_a_server_with_more_rows_than_the_student_is_refused_where_it_matters() -> None:
    config = TeacherConfig(api="openai", url="http://big:8000")
    transport = httpx.MockTransport(Server().handle)
    client = OpenAIClient.from_config(config, Letters(), transport=transport, vocab_size=VOCAB_SIZE - 1)
    assert (await client.model_info()).vocab_size == VOCAB_SIZE - 1
    expected = r"gives probability to id 10, which is not among the student's 10 tokens: serve a model whose"
    with pytest.raises(TeacherProtocolError, match=expected):
        await client.score(SEQUENCES, -1)


async def test_a_request_has_the_key_and_a_name_of_its_own_at_every_try(monkeypatch) -> None:
    monkeypatch.setenv("MY_TEACHER_KEY", "secret")
    server, seen = Server(), []

    def handle(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == "Bearer secret"
        assert "X-Request-Timeout-S" not in request.headers
        if request.url.path != "/v1/completions":
            return server.handle(request)
        seen.append(request.headers["X-Request-Id"])
        return server.handle(request) if len(seen) % 2 == 0 else httpx.Response(503)

    config = TeacherConfig(api="openai", url="http://big:8000", api_key_env="MY_TEACHER_KEY")
    client = OpenAIClient.from_config(config, Letters(), transport=httpx.MockTransport(handle))

    async def no_pause(_: float) -> None:
        pass

    client._sleep = no_pause
    for _ in range(2):
        await client.score(SEQUENCES, 1)
    assert [seen[0] == seen[1], seen[2] == seen[3], seen[1] == seen[2]] == [True, True, False]


async def test_a_run_with_api_openai_is_connected_to_a_vllm_server() -> None:
    document = {
        "name": "test",
        "task": {"kind": "chain"},
        "teacher": {"api": "openai", "url": "http://big:8000", "model": "big"},
        "student": {"model": "models/chain-student"},
        "policy": {"kind": "on_policy"},
    }
    client = connect_teacher(parse_config(document))
    assert isinstance(client, OpenAIClient)
    assert len(client._tokenizer.get_vocab()) == 19
    await client.aclose()
    native = connect_teacher(parse_config({**document, "teacher": {}}))
    assert isinstance(native, TeacherClient)
    await native.aclose()


REPLICAS = {"url": "http://big:8000", "replicas": ["http://other:8000"]}


async def test_replicas_that_spell_otherwise_or_have_another_name_are_refused() -> None:
    for spoil, words in (
        (
            lambda other: setattr(other.spells, "decode", lambda ids: "?"),
            "http://other:8000.* different tokenizers",
        ),
        (
            lambda other: setattr(other, "name", "small"),
            r"'big' is not served at http://other:8000 \(small\)",
        ),
    ):
        one, other = Server(), Server()
        spoil(other)
        by_host = {"big": one, "other": other}
        transport = httpx.MockTransport(lambda request, by=by_host: by[request.url.host].handle(request))
        config = TeacherConfig(api="openai", **REPLICAS)
        with pytest.raises(ModelError, match=words):
            await OpenAIClient.from_config(config, Letters(), transport=transport).model_info()


def first(document: dict[str, Any]) -> dict[str, Any]:
    """The choice of the first prompt, which comes last."""
    return document["choices"][-1]


DAMAGES: list[tuple[Damage, type[Exception], str]] = [
    (lambda d: d["choices"].pop(), TeacherProtocolError, "2 completions asked, 1 came"),
    (lambda d: first(d)["prompt_logprobs"].pop(), TeacherProtocolError, "3 tokens scored, 2 rows came"),
    (
        lambda d: first(d)["prompt_logprobs"][1].pop("1"),
        TeacherProtocolError,
        "came without its log-probability|a row asked",
    ),
    (lambda d: first(d)["prompt_logprobs"].__setitem__(2, None), TeacherProtocolError, "cannot be read"),
    (
        lambda d: first(d)["logprobs"].__setitem__("top_logprobs", None),
        TeacherProtocolError,
        "cannot be read",
    ),
    (lambda d: first(d)["prompt_logprobs"][1]["1"].update(logprob=-9999.0), NonFiniteError, "minus infinity"),
    (
        lambda d: first(d)["prompt_logprobs"][1].update({"99": {"logprob": 0.0}}),
        TeacherProtocolError,
        "not among",
    ),
    (lambda d: first(d).pop("prompt_logprobs"), TeacherProtocolError, "0 rows came"),
]


@pytest.mark.parametrize(("damage", "kind", "words"), DAMAGES)
async def test_a_score_with_something_missing_is_never_passed_on(damage, kind, words) -> None:
    with pytest.raises(kind, match=words):
        await make_client(Server(damage)).score(SEQUENCES, 3)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda d: first(d)["token_ids"].pop(), "3 tokens written, 4 rows came"),
        (lambda d: first(d).update(finish_reason="abort"), r"\(abort\)"),
        (lambda d: first(d).update(token_ids=[], logprobs={"top_logprobs": []}), "wrote 0 tokens"),
    ],
)
async def test_a_continuation_with_something_missing_is_never_passed_on(damage, words) -> None:
    with pytest.raises(TeacherProtocolError, match=words):
        await make_client(Server(damage)).generate(REQUEST)


async def test_a_server_that_gives_fewer_log_probabilities_says_how_to_start_it() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/completions":
            message = "Requested prompt logprobs of 64, which is greater than max allowed: 20"
            return httpx.Response(
                400, json={"error": {"message": message, "type": "BadRequestError", "code": 400}}
            )
        return Server().handle(request)

    config = TeacherConfig(api="openai", url="http://big:8000")
    client = OpenAIClient.from_config(config, Letters(), transport=httpx.MockTransport(refuse))
    with pytest.raises(
        TeacherRejectedError, match=r"max allowed: 20.*: start the server with --max-logprobs 5"
    ):
        await client.score(SEQUENCES, 5)
