"""``adaswitch eval``: which engine writes, what is said of it, and what is refused."""

import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from adaswitch.commands import cli
from adaswitch.config.student import StudentConfig
from adaswitch.errors import ConfigError, EnvironmentProblem, ModelError, UserError
from adaswitch.evaluation.command import run_eval
from adaswitch.evaluation.request import EvalRequest, VLLMSettings, choose_prompts
from adaswitch.tasks.chain import ChainTask
from services.evaluation.__main__ import app
from services.evaluation.on_vllm import on_vllm
from services.student.engines.engine import Sampling
from services.student.engines.vllm import engine as vllm_engine
from services.vllm import environment
from tests.unit.services.evaluation.test_vllm_writer import PlayedEngine

STUDENT = "models/chain-student"


class Started(PlayedEngine):
    """An engine that notes with what it was started."""

    last: "Started"

    def __init__(
        self, config: StudentConfig, vocab_size: int, sampling: Sampling, max_tokens: int, *, on_gpu: bool
    ) -> None:
        super().__init__()
        self.config, self.sampling, self.max_tokens = config, sampling, max_tokens
        self.vocab_size, self.is_closed = vocab_size, False
        Started.last = self

    def rest(self, first: int) -> list[int]:
        return [4, 2]

    def close(self) -> None:
        self.is_closed = True


def refused(words: str) -> Any:
    def start(*arguments: object, **settings: object) -> None:
        raise ModelError(words)

    return start


def request(**changes: Any) -> EvalRequest:
    settings = {"model": STUDENT, "task": ChainTask(), "limit": 3, "max_new_tokens": 64, "device": "cpu"}
    return EvalRequest(**{**settings, **changes})


def shown(monkeypatch: pytest.MonkeyPatch, asked: EvalRequest, start: Any, *, installed: bool = True) -> str:
    """What the command prints where ``start`` is what starts an engine on vLLM."""
    monkeypatch.setattr(environment, "is_vllm_installed", lambda: installed)
    monkeypatch.setattr(vllm_engine, "VLLMEngine", start)
    console = Console(file=StringIO(), width=200)
    assert run_eval(asked, console, other_writer=on_vllm)
    return console.file.getvalue()


def test_auto_takes_transformers_for_a_small_model_and_where_vllm_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = shown(monkeypatch, request(), refused("never asked"))
    assert re.search(
        r"^--engine: transformers \(the model has [\d.]+M parameters, less than 30M\)$", said, re.M
    )
    said = shown(monkeypatch, request(), refused("never asked"), installed=False)
    assert "--engine: transformers (vLLM is not installed)\n" in said
    assert "as --engine says" in shown(monkeypatch, request(engine="transformers"), refused("never asked"))


def test_auto_takes_vllm_for_a_large_model_as_the_request_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.student.engines.choice.MIN_PARAMETERS", 0)
    asked = request(
        temperature=0.5, num_samples=2, seed=3, dtype="bfloat16", vllm=VLLMSettings(kv_cache_gib=0.25)
    )
    said = shown(monkeypatch, asked, Started)
    assert re.search(
        r"^starting vLLM\n--engine: vllm \(the model has [\d.]+M parameters, 0M or more\)$", said, re.M
    )
    engine = Started.last
    assert engine.is_closed
    assert engine.under_way == set()
    config = engine.config
    assert (config.model, config.dtype, config.kv_cache_gib) == (STUDENT, "bfloat16", 0.25)
    assert config.gpu_memory_utilization == StudentConfig(model="").gpu_memory_utilization
    assert (engine.sampling.seed, engine.sampling.temperature) == (3, 0.5)
    assert engine.max_tokens in range(64 + 5, 64 + 30)


def test_where_vllm_cannot_run_the_model_auto_says_so_and_an_engine_that_was_asked_for_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.student.engines.choice.MIN_PARAMETERS", 0)
    start = refused(
        "student.engine: vllm cannot run 'it': no room; set student.kv_cache_gib to what fits, or "
        "set student.engine=transformers"
    )
    said = shown(monkeypatch, request(), start)
    assert "--engine: transformers (vllm cannot run 'it': no room" in said
    with pytest.raises(
        ModelError,
        match=r"^--engine: vllm cannot run 'it': no room; set --kv-cache-gib to what fits, "
        r"or set --engine transformers$",
    ):
        shown(monkeypatch, request(engine="vllm"), start)


def test_an_engine_that_is_not_installed_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "is_vllm_installed", lambda: False)
    arguments = ["--model", STUDENT, "--task", "chain", "--limit", "3", "--engine", "vllm", "--device", "cpu"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == UserError.exit_code
    assert "error: --engine: vllm is not installed; get it with `pip install" in result.output
    assert "set --engine transformers" in result.output
    assert "student." not in result.output


def test_without_any_other_engine_only_transformers_writes() -> None:
    with pytest.raises(EnvironmentProblem, match="--engine vllm: it is not here: set --engine transformers"):
        run_eval(request(engine="vllm"), Console(file=StringIO()))


@pytest.mark.parametrize("size", [float("nan"), float("inf")])
def test_a_size_that_is_none_is_refused(size: float) -> None:
    with pytest.raises(ConfigError, match=f"--kv-cache-gib {size}: must be a number above 0"):
        request(vllm=VLLMSettings(kv_cache_gib=size))
    with pytest.raises(ConfigError, match=f"--gpu-memory-utilization {size}: must be a number above 0"):
        request(vllm=VLLMSettings(gpu_memory_utilization=size))


def test_an_evaluation_that_is_stopped_closes_its_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "is_vllm_installed", lambda: True)
    monkeypatch.setattr(vllm_engine, "VLLMEngine", Started)
    asked, console = request(engine="vllm"), Console(file=StringIO())
    assert not run_eval(asked, console, lambda: True, on_vllm)
    assert Started.last.is_closed


def test_an_engine_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match="--engine vlm: must be one of auto, transformers, vllm"):
        request(engine="vlm")


def test_the_engine_and_its_settings_are_those_of_the_run_or_of_the_options() -> None:
    config, changes = Path("configs/demo.yaml"), ["student.engine=vllm", "student.kv_cache_gib=3"]
    chosen = choose_prompts(config, None, None, changes)
    assert chosen.engine == "vllm"
    settings = chosen.vllm.with_options(None, 0.5)
    assert (settings.kv_cache_gib, settings.gpu_memory_utilization) == (3.0, 0.5)
    assert chosen.vllm.with_options(2.0, None).kv_cache_gib == 2.0
    chosen = choose_prompts(None, "chain", None, [])
    assert (chosen.engine, chosen.vllm) == ("auto", VLLMSettings())


def test_the_command_becomes_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    become: list[object] = []
    monkeypatch.setattr(cli, "_become", lambda module, arguments: become.extend([module, arguments]))
    CliRunner().invoke(cli.app, ["eval", "--model", "DIR", "--task", "jsonl", "prompt_field=ask"])
    assert become == ["services.evaluation", ["--model", "DIR", "--task", "jsonl", "prompt_field=ask"]]
