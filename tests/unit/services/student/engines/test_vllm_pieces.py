"""The pieces of the student's engine on vLLM: its thread, the bound on its memory, the names of weights, its words."""

import threading
from pathlib import Path

import pytest
import torch

from adaswitch.data.model_config import read_model_config
from adaswitch.errors import ModelError
from services.student.engines.vllm.kept import Memory
from services.student.engines.vllm.outline import Outline, extremes
from services.student.engines.vllm.start import cannot_run
from services.student.engines.vllm.thread import SteppingThread
from tests.teacher_models import NUM_ROWS, VOCAB_SIZE, make_model
from tests.vllm_fakes import weights_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("student"), VOCAB_SIZE, num_rows=NUM_ROWS)


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


def test_memory_is_taken_as_a_whole_or_not_at_all() -> None:
    memory = Memory(4)
    assert [memory.take_all(3), memory.take_all(2), memory.take_all(1)] == [True, False, True]
    memory.give_back(3)
    assert (memory.num_rows, memory.take_all(3)) == (1, True)
    assert not Memory(0).take_all(1)


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
