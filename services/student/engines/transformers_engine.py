"""The student on transformers: batched decoding with a key-value cache. It is best for small models, and on CPU."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from adaswitch.data.causal_lm import load_model
from adaswitch.errors import ModelError
from adaswitch.method.decoding import Decoder, Draft
from adaswitch.method.kept_logits import KeptLogits
from adaswitch.method.roles import Chunk
from adaswitch.method.sampling import Place, draw
from services.student.engines.engine import Sampling, WriteRequest

MAX_KEPT_BYTES = 2**30
"""The most memory for the logits that one call to ``write`` keeps. If a call asks for more, all its chunks are shorter.
Each group under way keeps those of its last call, until they are scored, and of one call more for each chunk that is
written ahead."""


class TransformersEngine:
    """A ``StudentEngine``. Each prompt keeps its cache from chunk to chunk."""

    def __init__(self, model: PreTrainedModel, vocab_size: int, sampling: Sampling, device: str) -> None:
        """``vocab_size`` is V of student and teacher, so padding rows of the embedding can never be drawn."""
        self._model = model.to(device).eval()  # type: ignore[arg-type]
        self._decoder = Decoder(self._model, DynamicCache, vocab_size, device)
        self._row_bytes = vocab_size * self._model.dtype.itemsize
        self._sampling = sampling
        self._drafts: dict[int, Draft] = {}

    @classmethod
    def from_folder(
        cls, folder: str, dtype: str, vocab_size: int, sampling: Sampling, device: str
    ) -> "TransformersEngine":
        """Load the model from a Hugging Face folder, or by name from the hub."""
        return cls(load_model(folder, "student.model", dtype), vocab_size, sampling, device)

    def write(self, requests: Sequence[WriteRequest]) -> list[Chunk]:
        """See ``StudentEngine``."""
        most = max(1, MAX_KEPT_BYTES // (len(requests) * self._row_bytes))
        written = self._decoder.write(
            [self._draft(request) for request in requests],
            [min(request.num_tokens, most) for request in requests],
            [self._sampling.stop_token_ids] * len(requests),
            lambda logits, j: draw(
                logits, [self._place(request, j) for request in requests], self._sampling.temperature
            ),
        )
        return [Chunk(new.token_ids, KeptLogits(new.logits)) for new in written]

    def _place(self, request: WriteRequest, j: int) -> Place | None:
        """What the noise of the j-th new token belongs to; None if it is the most likely token."""
        if request.prompt.greedy:
            return None
        return Place(self._sampling.seed, request.prompt.id, len(request.completion) + j)

    def _draft(self, request: WriteRequest) -> Draft:
        """The prompt's draft. Its cache is reused as far as it holds the same tokens."""
        token_ids = [*request.prompt.token_ids, *request.completion]
        draft = Draft(token_ids)
        earlier = self._drafts.get(request.prompt.id)
        if earlier is not None and earlier.cache is not None:
            cached = earlier.token_ids[: earlier.num_cached]
            num_same = _num_same(cached, token_ids)
            draft.cache = earlier.cache[:num_same] if num_same else None
        self._drafts[request.prompt.id] = draft
        return draft

    def forget(self, prompt_ids: Sequence[int]) -> None:
        """See ``StudentEngine``."""
        for prompt_id in prompt_ids:
            self._drafts.pop(prompt_id, None)

    def weights(self) -> dict[str, Tensor]:
        """See ``StudentEngine``."""
        return {name: parameter.detach() for name, parameter in self._model.named_parameters()}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """See ``StudentEngine``. Tied parameters appear only once, under their first name."""
        own = dict(self._model.named_parameters())
        # ``copy_`` would repeat a shorter tensor silently.
        shapes = [{name: tensor.shape for name, tensor in each.items()} for each in (own, weights)]
        if different := sorted(dict(shapes[0].items() ^ shapes[1].items())):
            raise ModelError(
                f"the published weights are another model's: {different[0]} is on one side only, or of another "
                "shape; student.model must be the same for students and trainer"
            )
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(weights[name])


def _num_same(one: Sequence[int], other: Sequence[int]) -> int:
    """The number of equal tokens with which both sequences begin."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
