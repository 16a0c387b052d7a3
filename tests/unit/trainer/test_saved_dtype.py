"""A student whose folder holds fewer bits than training needs: saved as it came, and resumed with nothing lost."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from adaswitch.config.run import RunConfig
from adaswitch.runs.directory import RunDirectory, read_records
from tests.local_source import LocalTeacher
from tests.unit.trainer.test_trainer import StopAfter, config, run_training
from trainer.saved_weights import saved_weights


@pytest.fixture(scope="module")
def teacher() -> LocalTeacher:
    return LocalTeacher("models/chain-teacher")


def student(folder: Path, dtype: torch.dtype) -> str:
    """The demo's student with weights of ``dtype``."""
    AutoModelForCausalLM.from_pretrained("models/chain-student", dtype=dtype).save_pretrained(folder)
    AutoTokenizer.from_pretrained("models/chain-student").save_pretrained(folder)
    return str(folder)


def settings_of(folder: Path, model: str, **settings: object) -> RunConfig:
    return config(folder, **{"student.model": model, **settings})


def files(run: RunDirectory, step: int) -> dict[str, torch.Tensor]:
    return load_file(run.checkpoint(step) / "model.safetensors")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["all weights", "adapters"])
def test_a_student_comes_out_in_the_number_type_that_it_came_in(
    tmp_path: Path, teacher: LocalTeacher, dtype: torch.dtype, lora: object
) -> None:
    model = student(tmp_path / "student", dtype)
    assert run_training(settings_of(tmp_path, model, **{"trainer.lora": lora}), teacher) == 4
    run = RunDirectory(tmp_path / "run")
    assert {weight.dtype for weight in files(run, 4).values()} == {dtype}
    assert files(run, 4).keys() == load_file(tmp_path / "student/model.safetensors").keys()
    said = json.loads((run.checkpoint(4) / "config.json").read_text())
    assert said["dtype"] == str(dtype).removeprefix("torch.")
    assert AutoModelForCausalLM.from_pretrained(run.checkpoint(4)).dtype == dtype


@pytest.mark.parametrize("interrupted_after", [1, 3])
def test_what_the_saved_bits_lose_is_there_again_when_a_run_goes_on(
    tmp_path: Path, teacher: LocalTeacher, interrupted_after: int
) -> None:
    model = student(tmp_path / "student", torch.bfloat16)
    assert run_training(settings_of(tmp_path / "whole", model), teacher) == 4
    parts, run = settings_of(tmp_path / "parts", model), RunDirectory(tmp_path / "parts" / "run")
    assert run_training(parts, teacher, StopAfter(run, interrupted_after)) == interrupted_after
    assert run_training(parts, teacher) == 4
    other = RunDirectory(tmp_path / "whole" / "run")
    states = [
        torch.load(each.checkpoint(4) / "trainer_state.pt", weights_only=True)["weights"]
        for each in (other, run)
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert all(weight.dtype == torch.float32 for weight in states[0].values())
    assert any(not torch.equal(weight, weight.bfloat16().float()) for weight in states[0].values())
    losses = [[record["loss"] for record in read_records(each.metrics)] for each in (other, run)]
    assert losses[0] == losses[1]


def test_a_student_in_float32_has_its_weights_in_the_model_alone(
    tmp_path: Path, teacher: LocalTeacher
) -> None:
    assert run_training(config(tmp_path), teacher) == 4
    state = torch.load(RunDirectory(tmp_path / "run").checkpoint(4) / "trainer_state.pt", weights_only=True)
    assert state["weights"] == {}


@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_stay_one_and_what_float16_has_no_room_for_stays_as_it_is(tied: bool) -> None:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=17, tie_word_embeddings=tied, **shape))
    model.model.norm.weight.data[0] = 1e5
    found = saved_weights(model, model.state_dict(), torch.float16, has_adapters=False)
    one, other = found["model.embed_tokens.weight"], found["lm_head.weight"]
    assert (one.data_ptr() == other.data_ptr()) == tied
    assert one.dtype == torch.float16
    assert found["model.norm.weight"].dtype == torch.float32
    assert found["model.norm.weight"][0] == 1e5
