"""Published adapters become whole weights: those of the student's folder with the adapters merged."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from adaswitch.errors import ModelError
from adaswitch.method.low_rank import Factors, as_published
from services.student.whole_weights import WholeWeights

NAME = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=17, **shape)).bfloat16().save_pretrained(tmp_path)
    return tmp_path


def own(folder: Path) -> dict[str, torch.Tensor]:
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def factors(seed: int, rows: int = 24) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    return Factors(torch.randn(rows, 2, generator=generator), torch.randn(2, 16, generator=generator))


def test_whole_weights_pass_as_they_are_and_read_no_folder() -> None:
    published = {"a": torch.zeros(2)}
    assert WholeWeights("nowhere", "float32").of(published) is published


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_each_set_of_adapters_is_merged_with_the_folders_weights(folder: Path, dtype: str) -> None:
    whole = WholeWeights(str(folder), dtype)
    for seed in (1, 2, 1):
        added = factors(seed)
        found = whole.of(as_published({NAME: added}))
        expected = own(folder)
        expected[NAME] = (expected[NAME] + added.left @ added.right).to(getattr(torch, dtype))
        assert found.keys() == expected.keys()
        assert found[NAME].dtype == getattr(torch, dtype)
        # The rest is as in the folder, in any number type: the engine takes its own.
        assert all(torch.equal(found[name].float(), expected[name].float()) for name in expected)


def test_adapters_of_another_model_are_refused_by_name(folder: Path) -> None:
    whole = WholeWeights(str(folder), "float32")
    for published in ({"other.weight": factors(0)}, {NAME: factors(0, rows=1)}):
        with pytest.raises(ModelError, match=f"another model's: {next(iter(published))}"):
            whole.of(as_published(published))
