"""Which engine a student gets, and what is said of it."""

from pathlib import Path
from typing import Any

import pytest

from adaswitch.config.student import StudentConfig
from adaswitch.errors import ConfigError, ModelError
from services.student import engines
from services.student.engines.choice import choose
from services.student.engines.engine import Sampling
from services.student.engines.transformers_engine import TransformersEngine
from services.student.engines.vllm import engine as vllm_engine
from services.vllm import environment
from tests.teacher_models import NUM_ROWS, VOCAB_SIZE, make_model


@pytest.mark.parametrize(
    ("asked", "device", "num_parameters", "installed", "taken", "why"),
    [
        ("auto", "cpu", 30_000_000, True, "vllm", "30M parameters, 30M or more"),
        ("auto", "cpu", 29_900_000, True, "transformers", "29.9M parameters, less than 30M"),
        ("auto", "cpu", 30_000_000, False, "transformers", "vLLM is not installed"),
        ("auto", "cuda", 1, True, "vllm", "on a GPU"),
        ("auto", "cuda:0", 1, True, "vllm", "on a GPU"),
        ("auto", "cuda", 1, False, "transformers", "vLLM is not installed"),
        ("auto", "cuda:1", 30_000_000, True, "transformers", "does not compute on cuda:1"),
        ("auto", "mps", 30_000_000, True, "transformers", "does not compute on mps"),
        ("transformers", "cuda", 30_000_000, True, "transformers", "as student.engine says"),
        ("vllm", "cpu", 1, False, "vllm", "as student.engine says"),
    ],
)
def test_auto_takes_vllm_for_large_students_and_on_gpus(
    asked: Any, device: str, num_parameters: int, installed: bool, taken: str, why: str
) -> None:
    name, reason = choose(asked, device, lambda: num_parameters, installed=installed)
    assert name == taken
    assert why in reason


@pytest.mark.parametrize("device", ["mps", "cuda:1"])
def test_vllm_on_a_device_where_it_does_not_compute_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match=r"^student\.engine: vllm computes on the CPU or on the first GPU"):
        choose("vllm", device, lambda: 0, installed=True)


def made(monkeypatch: pytest.MonkeyPatch, folder: Path, start: Any, **settings: Any) -> tuple[Any, list[str]]:
    """The engine that is made where ``start`` is what starts one on vLLM, and what is said."""
    monkeypatch.setattr(environment, "is_vllm_installed", lambda: True)
    monkeypatch.setattr(vllm_engine, "VLLMEngine", start)
    said: list[str] = []
    config = StudentConfig(model=str(folder), **settings)
    return engines.make_engine(config, VOCAB_SIZE, Sampling(0, 1.0, []), 64, "cpu", said.append), said


def no_start(*arguments: Any, **settings: Any) -> None:
    raise ModelError("student.engine: vllm cannot run it: no kernel; set student.engine=transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("student"), VOCAB_SIZE, num_rows=NUM_ROWS)


def test_a_small_student_gets_transformers(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    engine, said = made(monkeypatch, folder, no_start)
    assert isinstance(engine, TransformersEngine)
    assert said == ["student.engine: transformers (the student has 0.0703M parameters, less than 30M)"]


def test_a_large_student_gets_vllm(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("services.student.engines.choice.MIN_PARAMETERS", 60_000)
    engine, said = made(monkeypatch, folder, lambda *arguments, **settings: "an engine")
    assert engine == "an engine"
    assert said == ["student.engine: vllm (the student has 0.0703M parameters, 0M or more)"]


def test_auto_goes_on_with_transformers_where_vllm_cannot_run_the_model_and_says_so(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr("services.student.engines.choice.MIN_PARAMETERS", 0)
    engine, said = made(monkeypatch, folder, no_start)
    assert isinstance(engine, TransformersEngine)
    assert said == ["student.engine: transformers (vllm cannot run it: no kernel)"]
    with pytest.raises(ModelError, match="no kernel"):
        made(monkeypatch, folder, no_start, engine="vllm")
