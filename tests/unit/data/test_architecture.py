"""Kinds of models by their config alone: what is refused with which reason, and how long a sequence may be."""

import pytest
from transformers import AutoConfig, PreTrainedConfig

from adaswitch.data.architecture import check_causal_lm, check_decodable, check_loadable, longest_sequence
from adaswitch.errors import ModelError

LAYERS = {"num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"]}


def config(model_type: str, architecture: str | None = None, **settings: object) -> PreTrainedConfig:
    made = AutoConfig.for_model(model_type, **settings)
    made.architectures = None if architecture is None else [architecture]
    return made


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (config("t5"), "is an encoder with a decoder .t5.: take a model that only continues text"),
        (config("bart", "BartForCausalLM"), "is an encoder with a decoder"),
        (config("whisper"), "is an encoder with a decoder"),
        (config("bert"), "is an encoder .bert without is_decoder in its config.json."),
        (config("xlm-roberta", "XLMRobertaForCausalLM"), "is an encoder"),
        (
            config("llama", "LlamaForSequenceClassification"),
            "holds a LlamaForSequenceClassification, which gives no distribution of the next token: take the folder of "
            "a LlamaForCausalLM",
        ),
        (config("qwen3", "Qwen3Model"), "holds a Qwen3Model"),
        (config("mistral", "MistralForTokenClassification"), "holds a MistralForTokenClassification"),
        (
            config("vit", "ViTForImageClassification"),
            "holds a ViTForImageClassification.*: take a model that only",
        ),
    ],
    ids=lambda value: value.model_type if isinstance(value, PreTrainedConfig) else "",
)
def test_what_is_no_causal_language_model_is_refused_whatever_would_run_it(
    model: PreTrainedConfig, words: str
) -> None:
    for check in (check_causal_lm, check_loadable, check_decodable):
        with pytest.raises(ModelError, match=f"^student.model: 'folder' {words}"):
            check(model, "folder", "student.model")


@pytest.mark.parametrize("named", ["LlamaForCausalLM", [None], [], None, ["LlamaForCausalLM", None]])
def test_names_of_classes_in_odd_forms_are_read(named: object) -> None:
    model = config("llama")
    model.architectures = named
    check_causal_lm(model, "folder", "student.model")


def test_a_kind_without_a_causal_class_is_vllms_alone() -> None:
    model = config("qwen2_vl", "Qwen2VLForConditionalGeneration")
    check_causal_lm(model, "folder", "model")
    with pytest.raises(ModelError, match="kind qwen2_vl, of which transformers has no causal language model"):
        check_loadable(model, "folder", "model")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (config("mamba"), "keeps a state of another kind than keys and values"),
        (config("qwen3_5_text", **LAYERS), "keeps a state of another kind"),
        (config("lfm2", num_hidden_layers=2, layer_types=["conv", "full_attention"]), "keeps more than keys"),
        (config("deepseek_v32"), "keeps more than keys and values"),
        (config("openai-gpt"), "keeps no keys and values"),
        (config("xlnet"), "keeps no keys and values"),
        (config("blt"), "has no cache of the common form .AttributeError"),
    ],
    ids=lambda value: value.model_type if isinstance(value, PreTrainedConfig) else "",
)
def test_what_keeps_another_state_can_be_run_but_not_decoded_by_transformers(
    model: PreTrainedConfig, words: str
) -> None:
    check_loadable(model, "folder", "model")
    with pytest.raises(
        ModelError, match=rf"^model: 'folder' \({model.model_type}\) {words}.*: take a model of full"
    ):
        check_decodable(model, "folder", "model")


@pytest.mark.parametrize(
    "model",
    [
        config("llama"),
        config("gpt2", "GPT2LMHeadModel"),
        config("mistral", "MistralForCausalLM", sliding_window=8),
        config("bert", "BertLMHeadModel", is_decoder=True),
        config("gpt_neox", "GPTNeoXForCausalLM"),
        config("qwen2", "MyOwnForCausalLM"),
    ],
    ids=lambda value: value.model_type,
)
def test_what_continues_text_from_keys_and_values_passes(model: PreTrainedConfig) -> None:
    check_decodable(model, "folder", "model")


LONG = {"rope_type": "longrope", "short_factor": [1.0] * 48, "long_factor": [2.0] * 48, "rope_theta": 1e4}


@pytest.mark.parametrize(
    ("model", "longest"),
    [
        (config("llama", max_position_embeddings=300), 300),
        (config("gpt2", n_positions=77), 77),
        (config("mpt", max_seq_len=88), 88),
        (config("bloom"), None),
        (config("bloom", seq_length=99), 99),
        (
            config(
                "phi3",
                max_position_embeddings=131_072,
                original_max_position_embeddings=4096,
                rope_parameters={**LONG, "original_max_position_embeddings": 4096},
            ),
            4096,
        ),
        (
            config(
                "llama",
                max_position_embeddings=131_072,
                rope_parameters={
                    "rope_type": "llama3",
                    "rope_theta": 5e5,
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 8192,
                },
            ),
            131_072,
        ),
        (config("gemma3_text", max_position_embeddings=32_768), 32_768),
    ],
    ids=lambda value: value.model_type if isinstance(value, PreTrainedConfig) else str(value),
)
def test_the_longest_sequence_by_whatever_name(model: PreTrainedConfig, longest: int | None) -> None:
    assert longest_sequence(model) == longest
