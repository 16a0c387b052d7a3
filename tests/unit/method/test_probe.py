"""The look at a model before it is decoded: which models pass, and the reason with which each of the others fails."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, PreTrainedModel

from adaswitch.errors import ModelError
from adaswitch.method.probe import CacheLayout, probe

V = 20
SHAPE = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def model(model_type: str, **settings: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **SHAPE, **settings))
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return made.eval()


def test_keys_and_values_of_any_shape_lie_side_by_side_and_come_apart_again() -> None:
    shapes = ((1, 3), (1, 5), (2, 4), (2, 4))
    layers = [torch.randn(2, heads, 7, size) for heads, size in shapes]
    pairs = list(zip(layers[::2], layers[1::2], strict=True))
    layout = CacheLayout(shapes)
    flat = layout.flatten(pairs)
    assert flat.shape == (2, 7, 3 + 5 + 8 + 8)
    for (keys, values), (same_keys, same_values) in zip(pairs, layout.split(flat), strict=True):
        assert torch.equal(keys, same_keys)
        assert torch.equal(values, same_values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("model_type", ["llama", "mistral", "gpt_neox", "qwen3_moe"])
def test_a_model_passes_in_every_number_type(model_type: str, dtype: torch.dtype) -> None:
    layout = probe(model(model_type).to(dtype), DynamicCache, V)
    assert len(layout.shapes) == 4


def test_layers_may_keep_heads_of_different_sizes() -> None:
    settings = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4}
    gemma4 = model(
        "gemma4_text",
        **settings,
        head_dim=16,
        global_head_dim=32,
        hidden_size_per_layer_input=0,
    )
    assert probe(gemma4, DynamicCache, V).shapes == ((2, 16), (2, 16), (2, 32), (2, 32))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            lambda: model("gemma3_text", use_bidirectional_attention=True),
            "lets a token see those that follow",
        ),
        (lambda: model("bert", is_decoder=False), "keeps no keys and values"),
        (lambda: model("roberta", is_decoder=True), "counts its positions in a way of its own"),
        (lambda: model("lfm2", layer_types=["conv", "full_attention"]), "keeps more than keys and values"),
    ],
    ids=["looking-ahead", "encoder", "positions", "state"],
)
def test_what_would_go_wrong_in_silence_is_refused(made: Callable[[], PreTrainedModel], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        probe(made(), DynamicCache, V)


def test_what_looks_at_the_padding_or_past_the_cache_is_refused() -> None:
    llama = model("llama")

    def without_mask(**inputs: Any) -> Any:
        inputs.pop("attention_mask", None)
        return llama(**inputs)

    def without_cache(**inputs: Any) -> Any:
        if inputs["input_ids"].shape[1] == 1:
            inputs.pop("past_key_values")
            inputs.pop("attention_mask")
        return llama(**inputs)

    with pytest.raises(ModelError, match="function sees the padding beside a sequence"):
        probe(without_mask, DynamicCache, V)
    with pytest.raises(ModelError, match="function goes on otherwise from what is cached"):
        probe(without_cache, DynamicCache, V)


def test_whatever_a_model_raises_is_one_line() -> None:
    def forward(input_ids: Tensor, use_cache: bool) -> object:
        raise AttributeError("no such thing\nand more")

    with pytest.raises(
        ModelError, match=r"it fails on four tokens \(AttributeError: no such thing\): take a"
    ):
        probe(forward, DynamicCache, V)
    with pytest.raises(ModelError, match="keeps no keys and values"):
        probe(lambda **inputs: SimpleNamespace(logits=torch.zeros(1, 4, V)), DynamicCache, V)


def test_weights_that_are_not_finite_are_not_the_models_kind() -> None:
    llama = model("llama")
    with torch.no_grad():
        llama.get_output_embeddings().weight.fill_(torch.nan)
    assert len(probe(llama, DynamicCache, V).shapes) == 4
