"""``VLLMBatches``: the same engine for a worker that asks in batches."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from adaswitch.method.roles import Chunk
from services.student.engines.engine import WriteRequest
from services.student.engines.vllm.engine import VLLMEngine


class VLLMBatches:
    """A ``StudentEngine``. A call writes for many prompts, and waits until the last of them is written."""

    def __init__(self, engine: VLLMEngine) -> None:
        self._engine = engine

    def write(self, requests: Sequence[WriteRequest]) -> list[Chunk]:
        """See ``StudentEngine``."""
        return [future.result() for future in [self._engine.submit(request) for request in requests]]

    def forget(self, prompt_ids: Sequence[int]) -> None:
        """See ``StudentEngine``."""
        self._engine.forget(prompt_ids)

    def weights(self) -> Mapping[str, Tensor]:
        """See ``StudentEngine``."""
        return self._engine.weights()

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """See ``StudentEngine``."""
        self._engine.load_weights(weights)
