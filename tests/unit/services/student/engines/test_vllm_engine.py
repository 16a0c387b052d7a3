"""The student's engine on vLLM without vLLM: requests that come and go, what it keeps, new weights, and its end."""

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from adaswitch.config.student import StudentConfig
from adaswitch.errors import AdaSwitchError, ModelError, StudentLostError
from adaswitch.method.distribution import outcome_logprobs_of
from adaswitch.method.prompt import Prompt
from services.student.engine_calls import calls_of
from services.student.engines.engine import Sampling, WriteRequest
from services.student.engines.vllm import engine as vllm_engine
from services.student.engines.vllm.engine import VLLMEngine
from services.student.engines.vllm.kept import Memory
from services.student.engines.vllm.worker import Slip
from tests.teacher_models import NUM_ROWS, VOCAB_SIZE, make_model
from tests.vllm_fakes import STOP, PlayedLLM, weights_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("student"), VOCAB_SIZE, num_rows=NUM_ROWS)


@pytest.fixture
def llm() -> PlayedLLM:
    return PlayedLLM()


def engine_on(
    monkeypatch: pytest.MonkeyPatch,
    llm: PlayedLLM,
    folder: Path,
    refuse: Callable[..., str | None] = lambda *arguments: None,
) -> VLLMEngine:
    monkeypatch.setattr(vllm_engine, "start_vllm", lambda *arguments, **settings: llm)
    monkeypatch.setattr(vllm_engine, "refusal", refuse)
    return VLLMEngine(StudentConfig(model=str(folder)), VOCAB_SIZE, Sampling(0, 1.0, [STOP]), 64)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, llm: PlayedLLM, folder: Path) -> Iterator[VLLMEngine]:
    engine = engine_on(monkeypatch, llm, folder)
    yield engine
    llm.gate.set()
    engine.close()


def request(prompt_id: int, num_tokens: int = 4, before: int = 0) -> WriteRequest:
    return WriteRequest(Prompt(prompt_id, (5,)), (7,) * before, num_tokens)


async def test_requests_in_flight_are_written_together_and_each_goes_on_by_itself(
    engine: VLLMEngine, llm: PlayedLLM
) -> None:
    llm.gate.clear()
    short, long = (asyncio.create_task(engine.write(request(i, n))) for i, n in ((0, 2), (1, 5)))
    await asyncio.sleep(0)
    llm.gate.set()
    assert (await short).token_ids == [0, 1]
    again = asyncio.create_task(engine.write(request(0, 2, before=2)))
    assert ((await long).token_ids, (await again).token_ids) == ([0, 1, 2, 3, 4], [2, 3])
    assert (await engine.write(request(2, 6, before=7))).token_ids == [7, 8, STOP]


async def test_outcomes_come_from_a_chunks_own_states(engine: VLLMEngine) -> None:
    first, second = await asyncio.gather(engine.write(request(0, 2)), engine.write(request(1, 3)))
    ids = torch.arange(6).reshape(3, 2)
    outcomes = await second.rows.outcomes(ids)
    assert outcomes[:, :2].tolist() == ids.tolist()
    assert set(outcomes[:, 2].tolist()) != set((await first.rows.outcomes(ids[:2]))[:, 2].tolist())
    with pytest.raises(ValueError, match="candidates of 3 tokens, for 2 distributions"):
        await first.rows.outcomes(ids)


async def test_outcomes_that_are_asked_for_at_once_are_projected_at_once(
    engine: VLLMEngine, llm: PlayedLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = [await engine.write(request(i, 2 + i)) for i in range(3)]
    widths, project = [], llm.outcomes
    monkeypatch.setattr(
        llm, "outcomes", lambda states, ids: (widths.append(len(ids)), project(states, ids))[1]
    )
    let_go = threading.Event()
    engine._thread.submit(let_go.wait)
    ids = [torch.arange(2 * n).reshape(n, 2) + n for n in (2, 3)] + [torch.zeros(4, 5, dtype=torch.long)]
    asked = [asyncio.create_task(chunk.rows.outcomes(own)) for chunk, own in zip(chunks, ids, strict=True)]
    await asyncio.sleep(0)
    let_go.set()
    for own, found in zip(ids, await asyncio.gather(*asked), strict=True):
        assert found[:, :-1].tolist() == own.tolist()
    assert widths == [2 + 3, 4]


async def test_a_group_in_lockstep_is_answered_in_its_order(engine: VLLMEngine) -> None:
    chunks = await calls_of(engine).write([request(i, n) for i, n in enumerate((3, 1, 2))])
    assert [len(chunk.token_ids) for chunk in chunks] == [3, 1, 2]


async def test_what_is_forgotten_is_cancelled_and_frees_what_is_kept(
    engine: VLLMEngine, llm: PlayedLLM
) -> None:
    kept = await engine.write(request(0, 3))
    llm.gate.clear()
    under_way = asyncio.create_task(engine.write(request(1)))
    await asyncio.sleep(0)
    engine.forget([0, 1])
    llm.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await under_way
    with pytest.raises(ValueError, match="forgotten"):
        await kept.rows.outcomes(torch.zeros(3, 1, dtype=torch.long))
    assert (engine.num_kept(), llm.writing) == (0, {})


async def test_a_call_that_is_cancelled_ends_its_request(engine: VLLMEngine, llm: PlayedLLM) -> None:
    llm.gate.clear()
    calls = [asyncio.create_task(engine.write(request(0, 6))) for _ in range(2)]
    await asyncio.sleep(0)
    calls[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await calls[0]
    llm.gate.set()
    chunk = await calls[1]
    assert (len(chunk.token_ids), engine.num_kept()) == (6, 6)


async def test_memory_for_states_is_bounded_by_shorter_chunks_and_free_again_without_them(
    engine: VLLMEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine._memory = Memory(5)
    chunks = [await engine.write(request(i, 4)) for i in range(3)]
    assert [len(chunk.token_ids) for chunk in chunks] == [4, 1, 1]
    del chunks[0]
    gc.collect()
    assert engine.num_kept() == 2
    assert len((await engine.write(request(3, 4))).token_ids) == 3


async def test_logits_are_kept_while_there_is_room_and_states_beyond(
    engine: VLLMEngine, llm: PlayedLLM
) -> None:
    engine._logits_memory = Memory(5)
    llm.gate.clear()
    calls = [asyncio.create_task(engine.write(request(i, 4))) for i in range(2)]
    llm.gate.set()
    first, second = await asyncio.gather(*calls)
    logits = llm.logits_of(0, 4)
    ids = torch.tensor([[3, 1]]).expand(4, -1)
    assert torch.equal(await first.rows.outcomes(ids), outcome_logprobs_of(logits, ids, VOCAB_SIZE))
    assert (await second.rows.outcomes(ids)).tolist() == [[3.0, 1.0, 1.0]] * 4
    assert (engine._logits_memory.num_rows, engine._memory.num_rows, engine.num_kept()) == (4, 4, 8)
    del first, calls
    gc.collect()
    assert engine._logits_memory.num_rows == 0


async def test_an_engine_that_dies_fails_all_that_wait_and_all_that_ask_later(
    engine: VLLMEngine, llm: PlayedLLM
) -> None:
    kept = await engine.write(request(0, 2))
    llm.gate.clear()
    llm.broken = RuntimeError("no kernel\nfor this")
    calls = [asyncio.create_task(engine.write(request(i))) for i in (1, 2)]
    await asyncio.sleep(0)
    llm.gate.set()
    for call in calls:
        with pytest.raises(
            StudentLostError, match=r"^the student's engine has died: RuntimeError: no kernel$"
        ):
            await call
    with pytest.raises(StudentLostError, match="no kernel"):
        await engine.write(request(3))
    with pytest.raises(StudentLostError, match="no kernel"):
        await kept.rows.outcomes(torch.zeros(2, 1, dtype=torch.long))
    engine.forget([0, 1, 2, 3])
    assert engine.num_kept() == 0


async def test_a_request_that_is_refused_fails_alone(engine: VLLMEngine) -> None:
    with pytest.raises(ValueError, match="no such token"):
        await engine.write(WriteRequest(Prompt(0, (66,)), (), 2))
    assert len((await engine.write(request(0))).token_ids) == 4


async def test_a_sequence_that_does_not_fit_is_named(engine: VLLMEngine) -> None:
    with pytest.raises(
        ModelError, match=r"^student\.kv_cache_gib: a sequence of 65 tokens is more than the 64"
    ):
        await engine.write(request(0, 60, before=4))


async def test_new_weights_drop_the_cache_and_all_that_is_kept(
    engine: VLLMEngine, llm: PlayedLLM, folder: Path
) -> None:
    chunk, num_resets = await engine.write(request(0, 2)), llm.num_resets
    weights = weights_of(folder, add=1.0)
    engine.load_weights(weights)
    assert llm.weights.keys() == weights.keys() == engine.weights().keys()
    assert (llm.num_resets, engine.num_kept(), len(chunk.token_ids)) == (num_resets + 1, 0, 2)


async def test_weights_never_change_under_a_request(engine: VLLMEngine, llm: PlayedLLM, folder: Path) -> None:
    llm.gate.clear()
    under_way = asyncio.create_task(engine.write(request(0)))
    await asyncio.sleep(0)
    loading = engine._thread.submit(lambda: engine._load(weights_of(folder)))
    llm.gate.set()
    with pytest.raises(AdaSwitchError, match="only while no prompt is under way"):
        await asyncio.wrap_future(loading)
    assert (await under_way).token_ids == [0, 1, 2, 3]
    assert llm.weights == {}


async def test_weights_that_are_loaded_in_part_end_the_engine(
    engine: VLLMEngine, llm: PlayedLLM, folder: Path
) -> None:
    llm.broken = RuntimeError("wrong shape")
    with pytest.raises(StudentLostError, match="wrong shape"):
        engine.load_weights(weights_of(folder))
    with pytest.raises(StudentLostError, match="wrong shape"):
        await engine.write(request(0))


def refuse(llm: PlayedLLM, *arguments: object) -> str | None:
    """In place of the trial: it writes something."""
    llm.add([1], Slip(0, 0, 0, 1), ())
    llm.step()
    return "it keeps its old weights"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (RuntimeError("head size 10 is not supported"), "RuntimeError: head size 10"),
        (None, "it keeps its old"),
    ],
)
def test_a_model_that_fails_at_its_trial_is_named_and_what_was_started_is_shut_down(
    monkeypatch: pytest.MonkeyPatch, llm: PlayedLLM, folder: Path, broken: Exception | None, reason: str
) -> None:
    llm.broken = broken
    line = rf"^student\.engine: vllm cannot run .*: {reason}.*; set student\.engine=transformers"
    with pytest.raises(ModelError, match=line):
        engine_on(monkeypatch, llm, folder, refuse)
    assert llm.is_shut_down


async def test_nothing_is_answered_once_it_is_closed(
    monkeypatch: pytest.MonkeyPatch, llm: PlayedLLM, folder: Path
) -> None:
    engine = engine_on(monkeypatch, llm, folder)
    engine.close()
    assert llm.is_shut_down
    with pytest.raises(asyncio.CancelledError):
        await engine.write(request(0))
