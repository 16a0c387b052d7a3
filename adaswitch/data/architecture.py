"""Whether a kind of model can be used here, as far as its ``config.json`` says: before any of its weights are read.

Whether the model then does as its kind promises is looked at once it is loaded (``adaswitch.method.probe``).
"""

import inspect
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    DynamicCache,
    PreTrainedConfig,
)
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from adaswitch.data.model_folder import LENGTHS
from adaswitch.errors import ModelError

_INSTEAD = "take a model that only continues text, such as Qwen2.5"
_HEADS = ("CausalLM", "LMHead", "ForConditionalGeneration")
"""Parts of the names of model classes that give a distribution of the next token."""
_OFF_ON_VLLM_CPU = {
    "apertus": 0.0037,
    "bloom": 0.0011,
    "cohere": 4.0,
    "cohere2": 4.0,
    "gemma3n": 0.58,
    "gemma3n_text": 0.58,
    "ministral3": 0.5,
}
"""Kinds that vLLM 0.32 computes wrongly on a CPU, and by how many nats (``python -m bench.families``)."""
_BY_LENGTH = "longrope"
"""The kind of rotary embedding that depends on the length of the sequence."""


def check_causal_lm(config: PreTrainedConfig, folder: str, setting: str) -> None:
    """Raises ``ModelError`` with ``setting`` unless the folder holds a causal language model, whatever will run it."""
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{setting}: {folder!r} is an encoder with a decoder ({config.model_type}): {_INSTEAD}"
        )
    encoder = type(config.get_text_config()) in MODEL_FOR_MASKED_LM_MAPPING
    if encoder and not getattr(config, "is_decoder", False):
        raise ModelError(
            f"{setting}: {folder!r} is an encoder ({config.model_type} without is_decoder in its config.json), "
            f"whose tokens see those that follow: {_INSTEAD}"
        )
    _require_head(config, folder, setting)


def _require_head(config: PreTrainedConfig, folder: str, setting: str) -> None:
    """Refuses a folder that was saved from a classifier, a reward model, or a model without any head."""
    named: Any = config.architectures or []
    saved_from = [name for name in ([named] if isinstance(named, str) else named) if isinstance(name, str)]
    wanted = _model_class(config)
    heads = _HEADS if wanted is None else (*_HEADS, wanted.__name__)
    if saved_from and not any(head in name for head in heads for name in saved_from):
        instead = _INSTEAD if wanted is None else f"take the folder of a {wanted.__name__}"
        raise ModelError(
            f"{setting}: {folder!r} holds a {saved_from[0]}, which gives no distribution of the next token: {instead}"
        )


def check_loadable(config: PreTrainedConfig, folder: str, setting: str) -> None:
    """The same for a model that transformers will run, and so must have a class for."""
    check_causal_lm(config, folder, setting)
    if _model_class(config) is None:
        raise ModelError(
            f"{setting}: {folder!r} is of the kind {config.model_type}, of which transformers has no causal language "
            f"model: {_INSTEAD}"
        )


def check_decodable(config: PreTrainedConfig, folder: str, setting: str) -> None:
    """The same for a model that transformers will write with, from the keys and values of the tokens before.

    That is the student, and a teacher on the engine ``transformers``.
    """
    check_loadable(config, folder, setting)
    if (what := _undecodable(config)) is not None:
        raise ModelError(
            f"{setting}: {folder!r} ({config.model_type}) {what}, which transformers cannot go on from here: take a "
            "model of full or sliding-window attention, such as Qwen2.5"
        )


def check_right_on_vllm(config: PreTrainedConfig, folder: str, setting: str) -> None:
    """Raises ``ModelError`` for a kind that vLLM serves on a CPU without an error and with wrong numbers."""
    off = _OFF_ON_VLLM_CPU.get(config.get_text_config().model_type)
    if off is not None and not torch.cuda.is_available():
        raise ModelError(
            f"{setting}: {folder!r} ({config.model_type}) gets log-probabilities from vLLM on a CPU that are up to "
            f"{off:g} nats wrong: take the engine transformers (--engine transformers; teacher.serve.engine in a run)"
        )


def _undecodable(config: PreTrainedConfig) -> str | None:
    """What the model keeps of its tokens instead of their keys and values; None if it keeps just those."""
    model_class: Any = _model_class(config)
    if getattr(model_class, "_is_stateful", False):
        return "keeps a state of another kind than keys and values"
    if "past_key_values" not in inspect.signature(model_class.forward).parameters:
        return "keeps no keys and values"
    try:
        layers = DynamicCache(config=config).layers
    except Exception as error:  # transformers reads names that some kinds of configs do not have
        return f"has no cache of the common form ({type(error).__name__}: {error})"
    if all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
        return None
    return "keeps more than keys and values"


def _model_class(config: PreTrainedConfig) -> type[Any] | None:
    """The class that transformers loads such a folder with; None if it has none."""
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return None
    found: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    return found[0] if isinstance(found, tuple) else found  # type: ignore[no-any-return]


def longest_sequence(config: PreTrainedConfig) -> int | None:
    """The longest sequence that the model takes, in tokens; None if its config names no limit.

    A model whose rotary embedding changes for all positions once a sequence is longer than the original length takes
    the original length: beyond it, the keys that are cached already would be wrong, and in a batch the shorter
    sequences as well.
    """
    text = config.get_text_config()
    named = [value for name in LENGTHS if isinstance(value := getattr(text, name, None), int)]
    original = [
        int(rope["original_max_position_embeddings"])
        for rope in _rotary_embeddings(text)
        if rope.get("rope_type") == _BY_LENGTH
    ]
    return min(named[:1] + original, default=None)


def _rotary_embeddings(config: PreTrainedConfig) -> list[dict[str, Any]]:
    """The parameters of the rotary embedding, or of each of them if layers have different ones."""
    parameters = getattr(config, "rope_parameters", None) or {}
    return [value for value in parameters.values() if isinstance(value, dict)] or [parameters]
