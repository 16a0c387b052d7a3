"""What a model folder's config.json says. What would change how the model computes is set right or refused by name.

A student must compute the same in training as when it writes, and as its teacher's engine would. So dropout and the
losses of a router are switched off, attention whose logits are capped is computed as the model defines it, and a model
that looks ahead, is quantized, or needs code of its own is refused.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from adaswitch.data.architecture import check_causal_lm, check_decodable, check_right_on_vllm
from adaswitch.data.model_folder import check_model_folder, read_json
from adaswitch.data.models import load
from adaswitch.errors import ModelError

OUTPUTS = ("output_router_logits", "output_attentions", "output_hidden_states")
"""Settings that make a forward pass compute what nobody here looks at; with a cache or padding some of them fail."""
ALWAYS_CAUSAL = ("gpt_neox", "gpt_neox_japanese")
"""Kinds that have the setting ``is_decoder``, and are causal whatever it says."""
RANDOM_PARTS = ("dropout", "pdrop", "layerdrop")
"""Parts of the names of settings that drop parts of a forward pass at random."""


@dataclass(frozen=True)
class ModelConfig:
    """A model's configuration as it is used here, and ``notes``: a line for everything in it that was set right."""

    folder: str
    config: PreTrainedConfig
    notes: tuple[str, ...]

    @property
    def text(self) -> PreTrainedConfig:
        """The configuration of the language model itself, which is only a part of that of a multimodal model."""
        text: PreTrainedConfig = self.config.get_text_config()
        return text

    @property
    def num_rows(self) -> int:
        """The number of rows of the embedding, which is that of the logits."""
        return int(self.text.vocab_size)

    @property
    def stored_dtype(self) -> str | None:
        """The number type that the folder names, such as ``bfloat16``; None if it names none."""
        dtype = self.config.dtype or self.text.dtype
        return None if dtype is None else str(dtype).removeprefix("torch.")

    @property
    def attention(self) -> str | None:
        """The implementation of attention that computes what the model defines; None leaves it to transformers.

        Of those in torch, only the plain one can cap the logits of attention; the others leave the cap out silently.
        """
        return "eager" if getattr(self.text, "attn_logit_softcapping", None) is not None else None


def read_model_config(folder: str, setting: str) -> ModelConfig:
    """The configuration of a model folder or hub model.

    Raises ``ModelError`` with ``setting`` if it cannot be read or used, with the name of what is at fault.
    """
    check_model_folder(folder, setting)
    # A hub model's file is looked at by transformers alone: asking for it twice takes twice as long without a network.
    written = read_json(folder, "config.json", setting) if os.path.isdir(folder) else {}
    _refuse_own_code(written, folder, setting)
    _refuse_odd_dtype(written, folder, setting)
    config = load(AutoConfig.from_pretrained, folder, setting, trust_remote_code=False)
    for part in _parts(config):
        _refuse_looking_ahead(part, folder, setting)
    check_causal_lm(config, folder, setting)
    if not isinstance(getattr(config.get_text_config(), "vocab_size", None), int):
        raise ModelError(f"{setting}: {folder!r} is no language model: its config.json has no vocab_size")
    notes = [note for part in _parts(config) for note in _set_right(part)]
    return ModelConfig(
        folder, config, tuple(f"{setting}: {folder!r}: {note}" for note in dict.fromkeys(notes))
    )


def check_student_model(folder: str) -> None:
    """Raises ``ModelError`` unless the student's model is of a kind that can be decoded here."""
    check_decodable(read_model_config(folder, "student.model").config, folder, "student.model")


def check_teacher_model(folder: str, engine: str, setting: str) -> None:
    """Raises ``ModelError`` with ``setting`` unless the model is of a kind that ``engine`` may run as a teacher."""
    model = read_model_config(folder, setting)
    if engine == "transformers":
        check_decodable(model.config, folder, setting)
        refuse_quantized(model, setting)
    else:
        check_right_on_vllm(model.config, folder, setting)


def refuse_quantized(model: ModelConfig, setting: str) -> None:
    """Raises ``ModelError`` if the weights are quantized, as only vLLM loads them here, and nothing trains them."""
    quantization = getattr(model.config, "quantization_config", None)
    if quantization is None:
        return
    method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization.quant_method
    raise ModelError(
        f"{setting}: {model.folder!r} is quantized (quantization_config in its config.json: {method}): take the folder "
        "with the weights in bfloat16 or float32; only a teacher on the engine vllm may be quantized"
    )


def _refuse_own_code(written: Mapping[str, Any], folder: str, setting: str) -> None:
    """A folder may name code of its own and still be of a kind that transformers knows: then its code is not needed."""
    if "auto_map" in written and written.get("model_type") not in CONFIG_MAPPING:
        raise ModelError(
            f"{setting}: {folder!r} needs code of its own (auto_map in its config.json), which is never run here: "
            "take a model of a kind that transformers knows, such as Qwen2.5"
        )


def _refuse_odd_dtype(written: Mapping[str, Any], folder: str, setting: str) -> None:
    """Raises ``ModelError`` for the name of a number type that torch does not know, such as ``bf16`` or ``auto``."""
    for name in ("dtype", "torch_dtype"):
        dtype = written.get(name)
        if dtype is None or (
            isinstance(dtype, str)
            and isinstance(getattr(torch, dtype.removeprefix("torch."), None), torch.dtype)
        ):
            continue
        raise ModelError(
            f"{setting}: {folder!r} names the number type {dtype!r} ({name} in its config.json), which torch does not "
            "know: write float32, bfloat16 or float16 there"
        )


def _parts(config: PreTrainedConfig) -> Iterator[PreTrainedConfig]:
    """The whole configuration, and that of the language model if it is a part of its own."""
    yield config
    if (text := config.get_text_config()) is not config:
        yield text


def _refuse_looking_ahead(config: PreTrainedConfig, folder: str, setting: str) -> None:
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{setting}: {folder!r} is an encoder with a decoder (is_encoder_decoder in its config.json): take a "
            "model that only continues text, such as Qwen2.5"
        )
    bidirectional = getattr(config, "use_bidirectional_attention", None) not in (None, False)
    # The kinds that are encoders as well declare this setting. Other folders may name it, and it means nothing there.
    declared = (
        getattr(type(config), "is_decoder", None) is not None and config.model_type not in ALWAYS_CAUSAL
    )
    encoder = declared and config.is_decoder is False
    if bidirectional or encoder:
        name = "use_bidirectional_attention" if bidirectional else "is_decoder false"
        raise ModelError(
            f"{setting}: {folder!r} looks ahead ({name} in its config.json), so it cannot write: take a causal model"
        )


def _set_right(config: PreTrainedConfig) -> Iterator[str]:
    """Set right what changes a forward pass or breaks it. Yields a line for each change."""
    dropped = [
        f"{name} {value:g}"
        for name, value in vars(config).items()
        if any(part in name for part in RANDOM_PARTS) and _is_positive(value)
    ]
    for entry in dropped:
        setattr(config, entry.split()[0], 0.0)
    if dropped:
        yield f"{', '.join(dropped)}: computed without, so that training sees what inference computes"
    for name in OUTPUTS:
        if getattr(config, name, False) is True:
            setattr(config, name, False)
            yield f"{name} true: switched off, since nothing here reads it"
    for name in ("use_cache", "return_dict"):
        if getattr(config, name, True) is False:
            setattr(config, name, True)
            yield f"{name} false: switched on"
    padding, num_rows = getattr(config, "pad_token_id", None), getattr(config, "vocab_size", None)
    if isinstance(padding, int) and isinstance(num_rows, int) and padding >= num_rows:
        config.pad_token_id = None
        yield f"pad_token_id {padding}: left out, as the embedding has only {num_rows} rows"


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
