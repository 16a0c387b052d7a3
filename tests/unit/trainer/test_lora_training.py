"""Training of adapters: what is trained, published, saved and resumed, and the gradients against all weights' own."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from adaswitch.config.run import RunConfig
from adaswitch.config.trainer import TrainerConfig
from adaswitch.data.lora import adapted_layers
from adaswitch.errors import ConfigError, NonFiniteError
from adaswitch.runs.directory import RunDirectory, read_records
from services.student.whole_weights import WholeWeights
from tests.local_source import LocalTeacher
from tests.unit.trainer.test_learner import MIXED, rollouts
from tests.unit.trainer.test_trainer import StopAfter, config, run_training
from trainer.learner import Learner

STUDENT = "models/chain-student"


@pytest.fixture(scope="module")
def teacher() -> LocalTeacher:
    return LocalTeacher("models/chain-teacher")


def with_lora(folder: Path, **settings: object) -> RunConfig:
    return config(folder, **{"trainer.lora": {"rank": 3, "alpha": 5.0}, **settings})


def learner(**settings: object) -> Learner:
    torch.manual_seed(0)
    lora = {"rank": 3, "alpha": 5.0}
    optimizer = {"learning_rate": 1e-2, "warmup_steps": 0, "max_grad_norm": 1e6}
    one = Learner.from_folder(
        STUDENT, TrainerConfig.model_validate({"lora": lora, "optimizer": optimizer, **settings}), "cpu"
    )
    generator = torch.Generator().manual_seed(1)
    for layer in adapted_layers(one.model).values():
        layer.lora_B["default"].weight.data.normal_(std=0.1, generator=generator)
    return one


def gradients(one: Learner) -> dict[str, torch.Tensor]:
    return {name: each.grad.clone() for name, each in one.model.named_parameters() if each.grad is not None}


def step(one: Learner, **_: object) -> dict[str, torch.Tensor]:
    one.update(rollouts(*MIXED), 0)
    return gradients(one)


def test_gradients_are_those_of_all_weights_in_the_adapters_directions() -> None:
    small = learner()
    merged = WholeWeights(STUDENT, "float32").of(small.weights())
    unclipped = TrainerConfig.model_validate({"optimizer": {"max_grad_norm": 1e6}})
    whole = Learner.from_folder(STUDENT, unclipped, "cpu")
    whole.restore_masters(merged)
    layers = adapted_layers(small.model)
    factors = {
        name: (each.lora_A["default"].weight.clone(), each.lora_B["default"].weight.clone())
        for name, each in layers.items()
    }
    found, expected = step(small), step(whole)
    assert len(found) == 2 * len(layers)
    for name, (inner, outer) in factors.items():
        slope, scale = expected[f"{name}.weight"], 5.0 / 3
        torch.testing.assert_close(
            found[f"{name}.lora_B.default.weight"], scale * slope @ inner.t(), rtol=1e-4, atol=1e-6
        )
        torch.testing.assert_close(
            found[f"{name}.lora_A.default.weight"], scale * outer.t() @ slope, rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize(
    "settings",
    [{"micro_batch_size": 1}, {"micro_batch_tokens": 16}, {"gradient_checkpointing": True}],
    ids=str,
)
def test_neither_micro_batches_nor_packing_nor_checkpointing_changes_a_gradient(
    settings: dict[str, object],
) -> None:
    expected, found = step(learner()), step(learner(**settings))
    assert found.keys() == expected.keys()
    for name, slope in expected.items():
        torch.testing.assert_close(found[name], slope, rtol=1e-4, atol=1e-6)


def test_the_models_own_weights_stay_and_optimizer_and_publishing_are_small() -> None:
    one, whole = learner(), Learner.from_folder(STUDENT, TrainerConfig(), "cpu")
    own = whole.weights()
    step(one)
    step(whole)
    kept = {name.replace(".base_layer.", "."): each for name, each in one.model.named_parameters()}
    fresh = Learner.from_folder(STUDENT, TrainerConfig(), "cpu").weights()
    assert all(torch.equal(kept[name], weight) for name, weight in fresh.items())
    assert len(one.optimizer.state) == 2 * len(adapted_layers(one.model))
    sizes = [sum(each.numel() for each in weights.values()) for weights in (one.weights(), own)]
    assert sizes[0] < 0.2 * sizes[1]


def test_dropout_falls_on_adapters_in_training_alone() -> None:
    torch.manual_seed(0)
    one = learner(lora={"rank": 3, "alpha": 5.0, "dropout": 0.5})
    first = step(one)
    ids = torch.arange(3, 12)[None]
    one.model.eval()
    with torch.no_grad():
        assert torch.equal(one.model(ids).logits, one.model(ids).logits)
    other = learner(lora={"rank": 3, "alpha": 5.0, "dropout": 0.5})
    torch.manual_seed(7)
    assert any(not torch.allclose(slope, first[name]) for name, slope in step(other).items())


def test_adapters_that_are_not_finite_are_said() -> None:
    one = learner()
    next(iter(adapted_layers(one.model).values())).lora_A["default"].weight.data[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"lora_A.* holds nan"):
        one.require_finite_weights(3)


@pytest.mark.parametrize("interrupted_after", [1, 3])
def test_a_resumed_run_ends_with_the_same_adapters_bit_for_bit(
    tmp_path: Path, teacher: LocalTeacher, interrupted_after: int
) -> None:
    settings = {"trainer.lora": {"rank": 3, "alpha": 5.0, "dropout": 0.25}}
    whole, parts = config(tmp_path / "whole", **settings), config(tmp_path / "parts", **settings)
    assert run_training(whole, teacher) == 4
    run = RunDirectory(tmp_path / "parts" / "run")
    assert run_training(parts, teacher, StopAfter(run, interrupted_after)) == interrupted_after
    assert run_training(parts, teacher) == 4
    other = RunDirectory(tmp_path / "whole" / "run")
    for file in ("adapter/adapter_model.safetensors", "model.safetensors"):
        expected, actual = (load_file(each.checkpoint(4) / file) for each in (other, run))
        assert expected.keys() == actual.keys()
        assert all(torch.equal(expected[name], actual[name]) for name in expected)
    losses = [[record["loss"] for record in read_records(each.metrics)] for each in (other, run)]
    assert losses[0] == losses[1]


def test_a_checkpoint_holds_the_merged_model_and_the_adapters_as_the_usual_libraries_read_them(
    tmp_path: Path, teacher: LocalTeacher
) -> None:
    assert run_training(with_lora(tmp_path), teacher) == 4
    folder = RunDirectory(tmp_path / "run").checkpoint(4)
    merged = AutoModelForCausalLM.from_pretrained(folder).eval()
    base = AutoModelForCausalLM.from_pretrained(STUDENT).eval()
    ids = torch.arange(3, 15)[None]
    with torch.no_grad():
        before, after = base(ids).logits, merged(ids).logits
        adapted = PeftModel.from_pretrained(base, folder / "adapter").eval()(ids).logits
    assert not torch.allclose(before, after, atol=1e-4)
    torch.testing.assert_close(adapted, after, rtol=0, atol=1e-5)
    said = json.loads((folder / "adapter/adapter_config.json").read_text())
    assert (said["r"], said["lora_alpha"], said["base_model_name_or_path"]) == (3, 5.0, STUDENT)


def test_students_write_with_the_merged_weights(tmp_path: Path, teacher: LocalTeacher) -> None:
    settings = {"trainer.eval_by": "students"}
    assert run_training(with_lora(tmp_path / "a", **settings), teacher) == 4
    assert run_training(with_lora(tmp_path / "b"), teacher) == 4
    marks = [
        [record["value"] for record in read_records(RunDirectory(tmp_path / each / "run").evals)]
        for each in "ab"
    ]
    assert marks[0] == marks[1]


def test_a_run_does_not_go_on_with_other_adapters(tmp_path: Path, teacher: LocalTeacher) -> None:
    settings = with_lora(tmp_path)
    run = RunDirectory(tmp_path / "run")
    run_training(settings, teacher, StopAfter(run, 1))
    with pytest.raises(ConfigError, match=r"trainer\.lora\.rank \(was 3, now 4\)"):
        run_training(with_lora(tmp_path, **{"trainer.lora.rank": 4}), teacher)
    with pytest.raises(ConfigError, match=r"trainer\.lora"):
        run_training(config(tmp_path), teacher)
