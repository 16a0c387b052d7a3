"""The student's engine on vLLM without vLLM: its thread, the bound on what it keeps, names of weights, and its end."""

import asyncio
import gc
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adaswitch.config.student import StudentConfig
from adaswitch.data.causal_lm import load_model
from adaswitch.data.model_config import read_model_config
from adaswitch.errors import AdaSwitchError, ModelError, StudentLostError
from adaswitch.method.prompt import Prompt
from services.student.engine_calls import calls_of
from services.student.engines.engine import Sampling, WriteRequest
from services.student.engines.vllm import engine as vllm_engine
from services.student.engines.vllm.engine import VLLMEngine
from services.student.engines.vllm.kept import Memory
from services.student.engines.vllm.llm import Finished
from services.student.engines.vllm.outline import Outline, extremes
from services.student.engines.vllm.start import cannot_run
from services.student.engines.vllm.thread import SteppingThread
from services.student.engines.vllm.worker import Slip
from tests.teacher_models import NUM_ROWS, VOCAB_SIZE, make_model

STOP = 9


class PlayedLLM:
    """Writes each request's position, a token a step. ``gate`` holds steps up; ``broken`` is raised by the next one."""

    max_tokens = 64
    row_bytes = 2**20

    def __init__(self) -> None:
        self.writing: dict[int, tuple[Slip, list[int]]] = {}
        self.ended: dict[int, int] = {}
        self.most_at_once = 0
        self.gate = threading.Event()
        self.gate.set()
        self.broken: Exception | None = None
        self.weights: dict[str, Tensor] = {}
        self.num_resets = 0
        self.is_shut_down = False

    def add(self, token_ids: list[int], slip: Slip, stop_token_ids: Collection[int]) -> None:
        if token_ids == [66]:
            raise ValueError("no such token")
        self.writing[slip.number] = slip, []

    def step(self) -> Finished:
        self.gate.wait()
        if self.broken is not None:
            raise self.broken
        self.most_at_once = max(self.most_at_once, len(self.writing))
        for slip, token_ids in self.writing.values():
            token_ids.append(slip.num_before + len(token_ids))
        done = [
            (number, token_ids)
            for number, (slip, token_ids) in self.writing.items()
            if len(token_ids) == slip.num_tokens or token_ids[-1] == STOP
        ]
        for number, token_ids in done:
            del self.writing[number]
            self.ended[number] = len(token_ids)
        return done

    def abort(self, numbers: Collection[int]) -> None:
        for number in numbers:
            del self.writing[number]

    def rows(self, number: int, num_tokens: int) -> Tensor:
        assert self.ended.pop(number) == num_tokens
        return torch.full((num_tokens, 2), float(number))

    def outcomes(self, states: Tensor, ids: Tensor) -> Tensor:
        return torch.cat([ids.float(), states[:, :1]], -1)

    def agrees(self, states: Tensor, token_ids: list[int], prompt_id: int) -> bool:
        return len(states) == len(token_ids)

    def load_weights(self, weights: Sequence[tuple[str, Tensor]]) -> None:
        if self.broken is not None:
            raise self.broken
        self.weights = dict(weights)

    def reset_cache(self) -> bool:
        self.num_resets += 1
        return not self.writing

    def shut_down(self) -> None:
        self.is_shut_down = True


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("student"), VOCAB_SIZE, num_rows=NUM_ROWS)


@pytest.fixture
def llm() -> PlayedLLM:
    return PlayedLLM()


def engine_on(monkeypatch: pytest.MonkeyPatch, llm: PlayedLLM, folder: Path) -> VLLMEngine:
    monkeypatch.setattr(vllm_engine, "start_vllm", lambda *arguments, **settings: llm)
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


def weights_of(folder: Path, add: float = 0.0) -> dict[str, Tensor]:
    model = load_model(str(folder), "student.model", "float32")
    return {name: parameter.detach() + add for name, parameter in model.named_parameters()}


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


def test_a_start_that_fails_shuts_down_what_was_started(
    monkeypatch: pytest.MonkeyPatch, llm: PlayedLLM, folder: Path
) -> None:
    llm.broken = RuntimeError("head size 10 is not supported")
    with pytest.raises(
        ModelError,
        match=r"^student\.engine: vllm cannot run .*: RuntimeError: head size 10 is not supp.*; set",
    ):
        engine_on(monkeypatch, llm, folder)
    assert llm.is_shut_down


def test_states_that_belong_to_other_tokens_are_found_at_the_start(
    monkeypatch: pytest.MonkeyPatch, llm: PlayedLLM, folder: Path
) -> None:
    monkeypatch.setattr(llm, "agrees", lambda *arguments: False)
    with pytest.raises(ModelError, match="hidden states are not those that its tokens follow from"):
        engine_on(monkeypatch, llm, folder)


async def test_nothing_is_answered_once_it_is_closed(
    monkeypatch: pytest.MonkeyPatch, llm: PlayedLLM, folder: Path
) -> None:
    engine = engine_on(monkeypatch, llm, folder)
    engine.close()
    assert llm.is_shut_down
    with pytest.raises(asyncio.CancelledError):
        await engine.write(request(0))


@pytest.mark.parametrize(
    ("reason", "on_gpu", "fix"),
    [
        ("ValueError: head size 10 is not supported", False, "; set student.engine=transformers"),
        ("ValueError: No available memory for KV cache", False, "set student.kv_cache_gib to what fits, or"),
        ("ValueError: Free memory on device (1/80 GiB)", True, "set student.gpu_memory_utilization to what"),
    ],
)
def test_the_fix_is_that_of_the_reason(reason: str, on_gpu: bool, fix: str) -> None:
    line = cannot_run("models/any", reason, on_gpu=on_gpu)
    assert line.startswith(f"student.engine: vllm cannot run 'models/any': {reason}")
    assert fix in line


class Countdown:
    """Work of three steps."""

    def __init__(self) -> None:
        self.left = 0
        self.seen: list[str] = []

    def has_work(self) -> bool:
        return self.left > 0

    def step(self) -> None:
        self.left -= 1
        self.seen.append("step")

    def begin(self) -> None:
        self.left = 3
        self.seen.append("begin")

    def fail(self, error: Exception) -> None:
        self.seen.append(str(error))


def test_the_thread_steps_while_there_is_work_and_runs_jobs_in_their_order() -> None:
    work = Countdown()
    thread = SteppingThread(work, "test")
    thread.submit(work.begin).result()
    with pytest.raises(ZeroDivisionError):
        thread.submit(lambda: 1 // 0).result()
    while thread.submit(work.has_work).result():
        pass
    assert work.seen == ["begin", "step", "step", "step"]
    assert thread.submit(threading.current_thread).result().name == "test"
    thread.close()
    assert thread.submit(work.begin).cancelled()


def test_memory_gives_each_at_least_one_row() -> None:
    memory = Memory(4)
    assert [memory.take(3), memory.take(3), memory.take(3)] == [3, 1, 1]
    memory.give_back(4)
    assert (memory.num_rows, memory.take(9)) == (1, 3)


def outline_of(folder: Path) -> Outline:
    return Outline(read_model_config(str(folder), "student.model"), torch.bfloat16)


def test_weights_go_by_the_names_of_a_saved_folder_in_the_students_number_type(folder: Path) -> None:
    weights = weights_of(folder)
    saved = outline_of(folder).as_saved(weights)
    assert {name for name, _ in saved} == weights.keys()
    assert {weight.dtype for _, weight in saved} == {torch.bfloat16}
    assert outline_of(folder).num_parameters == sum(weight.numel() for weight in weights.values())


def test_weights_of_other_shapes_are_refused(folder: Path) -> None:
    weights = weights_of(folder)
    with pytest.raises(ModelError, match=r"lm_head\.weight is on one side only"):
        outline_of(folder).check({name: own for name, own in weights.items() if name != "lm_head.weight"})
    with pytest.raises(ModelError, match=r"lm_head\.weight has the shape \[1\], and here \[67, 64\]"):
        outline_of(folder).check({**weights, "lm_head.weight": torch.zeros(1)})


def test_the_extremes_of_weights_show_what_is_not_finite() -> None:
    found = extremes({"a": torch.tensor([[1.0, -2.0]]), "b": torch.tensor([1.0, float("nan")])})
    assert found["a"].tolist() == [-2.0, 1.0]
    assert found["b"].isnan().all()
