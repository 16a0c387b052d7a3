"""``CompiledLayers``: a model's layers as ``torch.compile`` makes them, for the time of a training step alone.

Each decoder layer is compiled by itself, as torchtitan does: layers of one kind share what is compiled, so that it is
done once however many there are, and their hooks and the recomputing of activations stay outside. Sizes are symbols,
so that micro-batches of other sizes compile nothing anew. Whoever writes with the model meanwhile, such as an
evaluation, has the layers as they are: texts that grow by a token at a time would be compiled again and again.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from adaswitch.data.causal_lm import layers_of
from adaswitch.errors import ModelError
from adaswitch.last_words import one_line

BACKEND = "inductor"


class CompiledLayers:
    """The layers of ``model``. They are compiled when they are first computed in a ``with in_place()`` block."""

    def __init__(self, model: nn.Module) -> None:
        self._layers = [
            (layer, torch.compile(layer.forward, backend=BACKEND, dynamic=True)) for layer in layers_of(model)
        ]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model compute with the compiled layers, forward and backward, in the block.

        Raises ``ModelError`` if torch cannot compile them.
        """
        for layer, compiled in self._layers:
            layer.forward = compiled
        try:
            yield
        except torch._dynamo.exc.TorchDynamoException as error:
            cause = getattr(
                error, "inner_exception", error
            )  # the first line of the outer one says nothing of it
            raise ModelError(
                f"trainer.compile: torch cannot compile this model's layers: {one_line(cause)}: set it to false"
            ) from error
        finally:
            for layer, _ in self._layers:
                del layer.forward  # that of its class is there again
