"""Model folders that compute something else than they should, or lack something: set right, or refused by name."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedModel

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.data.causal_lm import load_model
from adaswitch.data.model_config import read_model_config
from adaswitch.data.model_folder import check_model_folder
from adaswitch.errors import ModelError
from services.teacher.engines.model_folder import read_model_folder
from tests.model_folders import change_config, make_folder, tiny_llama

IDS = torch.tensor([[1, 5, 9, 4, 7, 7, 30, 2]])


@torch.inference_mode()
def logits(model: PreTrainedModel) -> torch.Tensor:
    return model(input_ids=IDS).logits


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"attention_dropout": 0.5}, "attention_dropout 0.5: computed without"),
        ({"use_cache": False}, "use_cache false: switched on"),
        ({"return_dict": False}, "return_dict false: switched on"),
        ({"output_router_logits": True}, "output_router_logits true: switched off"),
        ({"output_hidden_states": True}, "output_hidden_states true: switched off"),
        ({"pad_token_id": 64}, "pad_token_id 64: left out, as the embedding has only 64 rows"),
    ],
)
def test_what_changes_a_forward_pass_is_set_right_and_said(
    tmp_path: Path, changes: dict[str, object], note: str
) -> None:
    folder = make_folder(tmp_path)
    expected = logits(load_model(folder, "student.model", "float32"))
    change_config(tmp_path, changes)
    model = load_model(folder, "student.model", "float32")
    torch.testing.assert_close(logits(model), expected)
    [said] = read_model_config(folder, "student.model").notes
    assert said.startswith(f"student.model: {folder!r}: {note}")
    assert model(input_ids=IDS).past_key_values is not None
    model.train()
    torch.testing.assert_close(logits(model), expected)


def test_every_dropout_of_an_older_kind_is_left_out(tmp_path: Path) -> None:
    settings = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "vocab_size": 64}
    folder = make_folder(tmp_path, model=GPT2LMHeadModel(GPT2Config(**settings)))
    [note] = read_model_config(folder, "model").notes
    assert all(f"{name}_pdrop 0.1" in note for name in ("resid", "embd", "attn"))
    model = load_model(folder, "model", "float32")
    expected = logits(model)
    torch.testing.assert_close(logits(model.train()), expected)


@pytest.mark.parametrize("capped", [2.0, None])
def test_capped_attention_is_computed_as_the_model_defines_it(tmp_path: Path, capped: float | None) -> None:
    settings = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=32,
        initializer_range=0.5,
        sliding_window=4,
        query_pre_attn_scalar=16,
        attn_logit_softcapping=capped,
        **settings,
    )
    model = Gemma2ForCausalLM(config).eval()
    model.set_attn_implementation("eager")
    expected = logits(model)
    folder = make_folder(tmp_path, model=model)
    torch.testing.assert_close(logits(load_model(folder, "model", "float32")), expected, rtol=1e-4, atol=1e-4)
    if capped is not None:
        model.set_attn_implementation("sdpa")
        assert (logits(model) - expected).abs().max() > 1


def test_an_implementation_of_attention_that_the_folder_names_does_not_count(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    expected = logits(load_model(folder, "model", "float32"))
    change_config(tmp_path, {"_attn_implementation": "flash_attention_2"})
    torch.testing.assert_close(logits(load_model(folder, "model", "float32")), expected)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"num_hidden_layers": 3},
            r"lacks the weight model\.layers\.2\.input_layernorm\.weight \(and 8 more\)",
        ),
        (
            {"vocab_size": 70},
            r"the weight lm_head\.weight has shape \[64, 32\], and config\.json makes it \[70, 32\]",
        ),
        (
            {"hidden_size": 48},
            r"has shape \[64, 32\], and config\.json makes it \[64, 48\] \(and 20 more\)",
        ),
        (
            {"quantization_config": {"quant_method": "awq", "bits": 4}},
            r"is quantized \(quantization_config .* awq\)",
        ),
        ({"model_type": "nobody", "auto_map": {"AutoConfig": "a.B"}}, "needs code of its own"),
        ({"model_type": "nobody"}, "model type `nobody`"),
        ({"model_type": "bert"}, r"looks ahead \(is_decoder false"),
        ({"model_type": "t5"}, "is an encoder with a decoder"),
        ({"use_bidirectional_attention": True}, r"looks ahead \(use_bidirectional_attention"),
        ({"torch_dtype": "bf16"}, r"names the number type 'bf16' \(torch_dtype in its config\.json\)"),
        ({"dtype": "auto"}, "names the number type 'auto'"),
        ({"eos_token_id": "2"}, r"'eos_token_id'.*value '2'"),
        ({"vocab_size": "64"}, "'vocab_size'.*str"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    tmp_path: Path, changes: dict[str, object], fault: str
) -> None:
    folder = make_folder(tmp_path)
    change_config(tmp_path, changes)
    with pytest.raises(ModelError, match=f"^student.model: .*{fault}") as raised:
        load_model(folder, "student.model", "float32")
    assert "\n" not in str(raised.value)


def test_code_of_its_own_is_not_run_where_it_is_not_needed(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    change_config(tmp_path, {"auto_map": {"AutoConfig": "a.B", "AutoModelForCausalLM": "a.C"}})
    assert logits(load_model(folder, "model", "float32")).shape == (1, 8, 64)


def test_weights_that_are_missing_or_cannot_be_read_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    weights = tmp_path / "model.safetensors"
    tensors = load_file(weights)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(
        ModelError, match=r"lacks the weight model\.layers\.1\.mlp\.up_proj\.weight: it is not"
    ):
        load_model(folder, "model", "float32")
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(ModelError, match=r"^model: cannot load"):
        load_model(folder, "model", "float32")
    weights.unlink()
    with pytest.raises(ModelError, match=r"^model: cannot load .*model\.safetensors"):
        load_model(folder, "model", "float32")


def test_weights_that_nothing_uses_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_folder(tmp_path)
    change_config(tmp_path, {"num_hidden_layers": 1})
    load_model(folder, "model", "float32")
    assert "model.layers.1.input_layernorm.weight (and 8 more) is not used" in capsys.readouterr().out


def test_tied_weights_are_not_missing(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, model=tiny_llama(tie_word_embeddings=True))
    assert logits(load_model(folder, "model", "bfloat16")).dtype == torch.bfloat16


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"^student\.model: .* holds an adapter \(adapter_config\.json\)"):
        check_model_folder(str(tmp_path), "student.model")


def test_a_head_that_config_json_says_is_the_embedding_must_be_it(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    change_config(tmp_path, {"tie_word_embeddings": True})
    with pytest.raises(ModelError, match=r"^student\.model: .* has a head that differs from the embedding"):
        load_model(folder, "student.model", "float32")
    with pytest.raises(ModelError, match=r"^model: .* has a head that differs from the embedding"):
        read_model_folder(TeacherServiceConfig(model=folder))
    weights = load_file(tmp_path / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert read_model_folder(TeacherServiceConfig(model=folder)).dtype == "float32"
    assert set(dict(load_model(folder, "student.model", "float32").named_parameters())) == {
        name for name in weights if name != "lm_head.weight"
    }
