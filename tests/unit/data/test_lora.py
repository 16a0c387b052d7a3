"""Adapters in models: which layers get one, what each adds, and which layers are refused."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from adaswitch.data.lora import add_adapters, check_adapters, factors_of, load_adapters, own_names
from adaswitch.errors import ConfigError, DataError
from adaswitch.method.low_rank import LoRA

IDS = torch.arange(3, 11)[None]


def llama(tied: bool = False) -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=17, tie_word_embeddings=tied, **shape)).eval()


def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=17, n_embd=16, n_layer=2, n_head=2, n_positions=16)).eval()


def trained(model: PreTrainedModel) -> None:
    """Give the adapters values as if they had been trained: at first they add nothing."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1, generator=generator)


@pytest.mark.parametrize("make", [llama, gpt2])
@pytest.mark.parametrize("settings", [LoRA(rank=2, alpha=3.0), LoRA(rank=5)], ids=["small", "usual"])
def test_what_is_merged_by_the_factors_is_what_peft_merges(make, settings: LoRA) -> None:
    model, plain = make(), make()
    adapted = add_adapters(model, settings)
    trained(model)
    with torch.no_grad():
        expected = model(IDS).logits
        factors = factors_of(model)
        assert not torch.allclose(expected, plain(IDS).logits, atol=1e-3)
        for name, parameter in plain.named_parameters():
            if name in factors:
                parameter.copy_(factors.pop(name).added_to(parameter))
        assert not factors
        torch.testing.assert_close(plain(IDS).logits, expected, rtol=0, atol=1e-5)
        merged = adapted.merge_and_unload()
        torch.testing.assert_close(plain.state_dict(), merged.state_dict(), rtol=0, atol=1e-6)


def test_by_default_every_linear_layer_but_the_head_has_one_and_nothing_else_is_trained() -> None:
    model = llama(tied=True)
    add_adapters(model, LoRA())
    names = {name.split(".")[-2] for name in factors_of(model)}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert all(("lora_" in name) == each.requires_grad for name, each in model.named_parameters())


def test_names_of_the_state_are_those_of_the_model_without_adapters() -> None:
    model = llama()
    expected = set(model.state_dict())
    add_adapters(model, LoRA(target_modules=["q_proj", "down_proj"]))
    assert set(own_names(model).values()) == expected


def test_one_expression_names_whole_layers() -> None:
    model = llama()
    add_adapters(model, LoRA(target_modules=r".*\.layers\.1\..*(q|k)_proj"))
    assert set(factors_of(model)) == {f"model.layers.1.self_attn.{each}_proj.weight" for each in "qk"}


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            ["query"],
            "no layer of this model is named query: its linear layers are down_proj, gate_proj, k_proj, lm",
        ),
        ("nothing.*", "no layer of this model is named nothing"),
        (["q_proj", "embed_tokens"], "model.embed_tokens is a layer of the kind Embedding"),
        (["lm_head"], "lm_head is tied to the embedding"),
        ("(", "trainer.lora.target_modules"),
    ],
)
def test_layers_that_are_not_there_or_cannot_have_one_are_refused(targets, message: str) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.lora\.target_modules") as caught:
        add_adapters(llama(tied=True), LoRA(target_modules=targets))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_head_of_its_own_may_have_one() -> None:
    model = llama()
    add_adapters(model, LoRA(target_modules=["lm_head"]))
    assert list(factors_of(model)) == ["lm_head.weight"]


def test_a_folder_is_checked_without_its_weights(tmp_path) -> None:
    llama().config.save_pretrained(tmp_path)
    check_adapters(str(tmp_path), LoRA())
    with pytest.raises(ConfigError, match="no layer of this model is named c_attn"):
        check_adapters(str(tmp_path), LoRA(target_modules=["c_attn"]))


def test_saved_adapters_are_loaded_exactly_and_trained_on(tmp_path) -> None:
    model = llama()
    adapted = add_adapters(model, LoRA(rank=3))
    trained(model)
    adapted.save_pretrained(tmp_path)
    again = llama()
    load_adapters(again, tmp_path)
    assert all(torch.equal(own, again.state_dict()[name]) for name, own in model.state_dict().items())
    assert all(("lora_" in name) == each.requires_grad for name, each in again.named_parameters())


def test_adapters_that_are_damaged_or_another_models_are_named(tmp_path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_adapters(llama(), tmp_path)
    adapted = add_adapters(gpt2(), LoRA())
    adapted.save_pretrained(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        load_adapters(llama(), tmp_path)
