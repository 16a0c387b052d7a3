"""Looks at a causal language model before it is used: what state it keeps, and whether it reads a batch as it should.

A model's class says little of either. So the model is run on four tokens, once plainly and once in the way in which a
``Decoder`` runs it: in a batch that is padded on the left, and then on from the keys and values of the tokens before.
A model that gives other distributions then would go wrong in silence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from adaswitch.errors import ModelError

CacheData = list[tuple[Tensor, Tensor]]
"""The keys and values of each layer, each ``[b, heads, c, head_dim]``. Heads and head_dim may differ by layer."""

CLOSE = 1e-2
CLOSE_IN_HALF_PRECISION = 0.2
ROUNDING = 1e-4
"""In nats. Two distributions are the same if they differ by no more than this, or by no more than the share ``CLOSE``
of what one further token changes."""
_ADVICE = "take a model of full or sliding-window attention, such as Qwen2.5"
_OTHER_STATES = ("conv_states", "recurrent_states", "indexer_keys")


class CausalLM(Protocol):
    """The part of a model that decoding needs: the ``forward`` of transformers."""

    def __call__(self, **inputs: Any) -> Any:  # noqa: ANN401
        """Returns an object with ``logits [b, n, V']`` and ``past_key_values``."""


@dataclass(frozen=True)
class CacheLayout:
    """The tensors that a model keeps for each position: keys and values of the first layer, then of the next.

    ``shapes`` has the number of heads and the size of a head of each. F is the sum of all their products.
    """

    shapes: tuple[tuple[int, int], ...]

    def flatten(self, layers: CacheData) -> Tensor:
        """All keys and values of each position side by side ``[b, c, F]``."""
        return torch.cat([tensor.transpose(1, 2).flatten(2) for pair in layers for tensor in pair], dim=-1)

    def split(self, flat: Tensor) -> CacheData:
        """The layers again, from ``flat [b, c, F]``."""
        parts = flat.split([heads * size for heads, size in self.shapes], dim=-1)
        tensors = [
            part.unflatten(-1, shape).transpose(1, 2) for part, shape in zip(parts, self.shapes, strict=True)
        ]
        return list(zip(tensors[::2], tensors[1::2], strict=True))


@torch.inference_mode()
def probe(
    model: CausalLM, make_cache: Callable[[CacheData], Any], vocab_size: int, device: str = "cpu"
) -> CacheLayout:
    """The layout of the model's cache. The parameters are those of ``Decoder``.

    Raises ``ModelError`` with the reason for a model that cannot be decoded: its state is more than keys and values,
    a token sees those that follow, or its distributions depend on the padding, or on what is cached.
    """
    name = type(model).__name__
    a, b, c, d, other, padding = (token % vocab_size for token in (3, 1, 4, 2, 5, 0))
    plain = _call(model, input_ids=_ids([[a, b, c, d]], device), use_cache=True)
    _refuse_other_states(name, plain)
    mask = _ids([[1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]], device)
    batch = _padded(model, [[a, b, c, d], [a, b, c, other], [padding, a, b, c]], mask, make_cache([]), device)
    layers = [(layer.keys, layer.values) for layer in batch.past_key_values.layers]
    layout = CacheLayout(tuple((t.shape[1], t.shape[3]) for pair in layers for t in pair))
    cached = layout.flatten(layers)[[0, 2], :3]
    continued = _padded(model, [[d], [c]], mask[[0, 2]], make_cache(layout.split(cached)), device)
    _compare(name, _logprobs(plain), _logprobs(batch), _logprobs(continued), cached.dtype)
    return layout


def _ids(rows: list[list[int]], device: str) -> Tensor:
    return torch.tensor(rows, dtype=torch.long, device=device)


def _padded(model: CausalLM, rows: list[list[int]], mask: Tensor, cache: Any, device: str) -> Any:  # noqa: ANN401
    """The model's output for the last tokens ``rows`` of sequences of which ``mask`` says where they begin."""
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    return _call(
        model,
        input_ids=_ids(rows, device),
        attention_mask=mask,
        position_ids=positions[:, -len(rows[0]) :],
        past_key_values=cache,
        use_cache=True,
    )


def _call(model: CausalLM, **inputs: Any) -> Any:  # noqa: ANN401
    """The model's output. Whatever the model raises becomes a ``ModelError``: nothing is known of it yet."""
    try:
        return model(**inputs)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ModelError(
            f"{type(model).__name__} cannot be decoded here, it fails on four tokens ({reason}): {_ADVICE}"
        ) from error


def _logprobs(output: Any) -> Tensor:  # noqa: ANN401
    logits: Tensor = output.logits
    return logits.float().log_softmax(-1)


def _refuse_other_states(name: str, output: Any) -> None:  # noqa: ANN401
    layers = getattr(getattr(output, "past_key_values", None), "layers", [])
    tensors = [getattr(layer, part, None) for layer in layers for part in ("keys", "values")]
    whole = bool(tensors) and all(tensor is not None and tensor.ndim == 4 for tensor in tensors)
    others = any(hasattr(layer, state) for layer in layers for state in _OTHER_STATES)
    if others or not whole:
        kept = "more than keys and values" if layers else "no keys and values"
        raise ModelError(f"{name} keeps {kept} of its tokens, which cannot be decoded here: {_ADVICE}")


def _compare(name: str, plain: Tensor, batch: Tensor, continued: Tensor, dtype: torch.dtype) -> None:
    """Raises ``ModelError`` unless all three say the same of the same tokens."""
    if not torch.isfinite(batch[0]).all():
        return  # the weights are at fault, and whoever asks the model is told so
    share = CLOSE if dtype in (torch.float32, torch.float64) else CLOSE_IN_HALF_PRECISION
    close = ROUNDING + share * float((batch[0, 3] - batch[0, 2]).abs().max())
    for what, ones, others in (
        ("lets a token see those that follow, as an encoder does", batch[1, :3], batch[0, :3]),
        ("counts its positions in a way of its own", batch[0], plain[0]),
        ("sees the padding beside a sequence", batch[2, 1:], batch[0, :3]),
        ("goes on otherwise from what is cached", continued[:, -1], batch[0, [3, 2]]),
    ):
        if not bool(((ones - others).abs() <= close).all()):
            raise ModelError(f"{name} {what}, which cannot be decoded here: {_ADVICE}")
