"""``load_model``: the one place where the weights of a causal language model are loaded, for whatever they are used."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import logging

from adaswitch.data.model_config import ModelConfig, read_model_config, refuse_quantized
from adaswitch.data.models import load
from adaswitch.data.second_head import second_head_words
from adaswitch.errors import ModelError


def load_model(folder: str, setting: str, dtype: str | torch.dtype) -> PreTrainedModel:
    """The model in ``folder`` with weights of type ``dtype``, in evaluation mode.

    Its configuration is what ``read_model_config`` makes of the folder's. Its generation settings are transformers' own
    defaults, since none of the folder's may count. Raises ``ModelError`` with ``setting`` if the folder cannot be used,
    or if a weight is missing or has another shape: transformers itself would make up such weights at random.
    """
    return load_configured(read_model_config(folder, setting), setting, dtype)


def load_configured(model: ModelConfig, setting: str, dtype: str | torch.dtype) -> PreTrainedModel:
    """The same for a configuration that was read already."""
    refuse_quantized(model, setting)
    with _quiet():
        loader: Any = AutoModelForCausalLM.from_pretrained
        loaded, found = load(
            loader,
            model.folder,
            setting,
            config=model.config,
            dtype=getattr(torch, dtype) if isinstance(dtype, str) else dtype,
            attn_implementation=model.attention,
            generation_config=GenerationConfig(),
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # they are reported all the same, and refused below by name
            output_loading_info=True,
        )
    _refuse_other_weights(found, model.folder, setting)
    _refuse_second_head(loaded, model, setting)
    whole: PreTrainedModel = loaded.eval()
    return whole


def outline(model: ModelConfig) -> PreTrainedModel:
    """A model without its weights (on torch's device ``meta``): its layers, the names and shapes of its parameters."""
    with torch.device("meta"):
        made: PreTrainedModel = AutoModelForCausalLM.from_config(model.config, dtype=torch.float32)
    return made


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The layers that follow each other in ``model``, as transformers marks them; none in models of unusual kinds."""
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def _refuse_second_head(loaded: PreTrainedModel, model: ModelConfig, setting: str) -> None:
    """Raises ``ModelError`` for a folder with a head that config.json says is the embedding, if the two differ.

    transformers would compute with the head, and vLLM with the embedding.
    """
    embedding, head = loaded.get_input_embeddings(), loaded.get_output_embeddings()
    first, second = getattr(embedding, "weight", None), getattr(head, "weight", None)
    tied = getattr(model.text, "tie_word_embeddings", False)
    if not tied or first is None or second is None or first.data_ptr() == second.data_ptr():
        return
    if first.shape == second.shape and not torch.equal(first, second):
        raise ModelError(second_head_words(model, setting))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' reports while a model is loaded: what they say is looked at here."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _refuse_other_weights(found: dict[str, Any], folder: str, setting: str) -> None:
    """Raises ``ModelError`` with the first weight that the folder lacks, or that has another shape."""
    if mismatched := sorted(found["mismatched_keys"]):
        name, stored, wanted = mismatched[0]
        raise ModelError(
            f"{setting}: {folder!r}: the weight {name} has shape {list(stored)}, and config.json makes it "
            f"{list(wanted)}{_more(mismatched)}: config.json and the weights do not belong together"
        )
    if missing := sorted(found["missing_keys"]):
        raise ModelError(
            f"{setting}: {folder!r} lacks the weight {missing[0]}{_more(missing)}: it is not whole, or its config.json "
            "belongs to another model"
        )
    if problems := found["error_msgs"]:
        raise ModelError(f"{setting}: cannot load {folder!r}: {str(problems[0]).splitlines()[0]}")
    if unused := sorted(found["unexpected_keys"]):
        print(
            f"{setting}: {folder!r}: the weight {unused[0]}{_more(unused)} is not used by the model",
            flush=True,
        )


def _more(names: list[Any]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
