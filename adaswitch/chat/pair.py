"""Loads one model, or two that are talked to at once, and checks that they can be."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from adaswitch.chat.manner import Located, locate, manner_of
from adaswitch.chat.speaker import Drawing, Speaker
from adaswitch.contract.fingerprint import tokenizer_sha256
from adaswitch.data.architecture import check_decodable
from adaswitch.data.causal_lm import load_configured
from adaswitch.data.model_config import ModelConfig, read_model_config, refuse_quantized
from adaswitch.data.models import load_tokenizer, max_positions
from adaswitch.data.stop_tokens import find_stop_tokens, own_stop_token_ids
from adaswitch.data.threads import number_of_threads
from adaswitch.data.vocabulary import vocabulary_of
from adaswitch.errors import ConfigError, EnvironmentProblem, ModelError
from adaswitch.processes.cores import compute_with, num_cores

MODEL, OTHER = "MODEL", "--beside"
DTYPES, DEVICES = ("float32", "bfloat16", "float16"), ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class ChatRequest:
    """Whom to talk to, and how answers are written."""

    model: str
    beside: str | None = None
    """A second model, which answers the same."""
    config: Path | None = None
    """A run's settings that say how to ask; None for those of the model's own run."""
    temperature: float = 0.0
    seed: int = 0
    max_new_tokens: int | None = None
    dtype: str = "float32"
    device: str = "auto"

    def __post_init__(self) -> None:
        for option, value, known in (("--dtype", self.dtype, DTYPES), ("--device", self.device, DEVICES)):
            if value not in known:
                raise ConfigError(f"{option} {value}: must be one of {', '.join(known)}")
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"--temperature {self.temperature}: must be a number from 0 on, 0 for greedy")


@dataclass(frozen=True)
class Speakers:
    """Who is talked to: one model, or two with one tokenizer."""

    names: tuple[str, ...]
    """What each is called: as it was given."""
    speakers: tuple[Speaker, ...]
    vocab_size: int
    lines: tuple[str, ...]
    """What to tell people before the first line."""


def load_speakers(request: ChatRequest) -> Speakers:
    """The models of ``request``. What can be checked is checked before anything is loaded.

    Raises ``UserError`` for a folder that cannot be used, and for two models with different tokenizers.
    """
    device, parts = _device(request), [_part(request.model, MODEL)]
    if request.beside is not None:
        parts.append(_part(request.beside, OTHER))
        shas = [tokenizer_sha256(part.tokenizer.get_vocab()) for part in parts]
        _require_same(shas[1], shas[0], request)
    own, others = parts[0], parts[1:]
    manner = manner_of(own.located, request.config, own.tokenizer)
    if request.max_new_tokens is not None:
        manner = replace(manner, max_new_tokens=request.max_new_tokens)
    vocab_size = min(part.vocab_size for part in parts)
    stops = find_stop_tokens(
        own.folder,
        own.tokenizer,
        vocab_size,
        MODEL,
        manner.stop_token_ids,
        [("the other model", token) for part in others for token in part.stop_token_ids()],
    )
    compute_with(number_of_threads("auto", num_cores(), *[part.folder for part in parts]))
    drawing = Drawing(request.temperature, request.seed)
    speakers = tuple(
        Speaker(
            part.load(request.dtype, device),
            own.tokenizer,
            manner,
            stops.ids,
            vocab_size,
            max_positions(part.folder, part.option),
            drawing,
        )
        for part in parts
    )
    lines = [f"{part.name}: {part.folder}" for part in parts if part.name != part.folder]
    return Speakers(
        tuple(part.name for part in parts), speakers, vocab_size, (*lines, manner.words, *stops.lines())
    )


@dataclass(frozen=True)
class _Part:
    """What is known of one model before it is loaded."""

    name: str
    option: str
    located: Located
    tokenizer: PreTrainedTokenizerBase
    config: ModelConfig

    @property
    def folder(self) -> str:
        """The local folder of the model's files."""
        return self.located.folder

    @property
    def vocab_size(self) -> int:
        """V: the number of token ids that the model can write."""
        return vocabulary_of(self.tokenizer, self.config.num_rows, self.option).size

    def stop_token_ids(self) -> list[int]:
        """The tokens that end an answer."""
        return own_stop_token_ids(self.folder, self.tokenizer, self.vocab_size, self.option)

    def load(self, dtype: str, device: str) -> PreTrainedModel:
        """The model on ``device``, with weights of type ``dtype``."""
        model = load_configured(self.config, self.option, dtype)
        model.to(device)  # type: ignore[arg-type]
        return model


def _part(name: str, option: str) -> _Part:
    located = locate(name)
    tokenizer, config = load_tokenizer(located.folder, option), read_model_config(located.folder, option)
    check_decodable(config.config, located.folder, option)
    refuse_quantized(config, option)
    return _Part(name, option, located, tokenizer, config)


def _require_same(theirs: str, own: str, request: ChatRequest) -> None:
    if theirs != own:
        raise ModelError(
            f"{OTHER}: {request.beside!r} and {request.model!r} have different tokenizers ({theirs[:12]} and "
            f"{own[:12]}): their distributions cannot be compared; take models of one family"
        )


def _device(request: ChatRequest) -> str:
    has_gpu = torch.cuda.is_available()
    if request.device == "cuda" and not has_gpu:
        raise EnvironmentProblem("--device cuda: torch sees no CUDA device here: take --device cpu")
    return "cuda" if has_gpu and request.device != "cpu" else "cpu"
