"""Makes vLLM hand out the log-probabilities of prompts as arrays instead of lists, in the service's own process."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from vllm.v1.engine.logprobs import LogprobsProcessor
    from vllm.v1.outputs import LogprobsTensors


def keep_prompt_arrays() -> None:
    """Patch vLLM: the ``FlatLogprobs`` of a prompt hold arrays instead of lists, without ranks and position indices.

    vLLM gets arrays from its engine's process, and by default appends four Python objects for each candidate to
    lists: with a small model that takes longer than the model itself. A request whose tokens are turned into text
    still gets lists.
    """
    from vllm.logprobs import FlatLogprobs
    from vllm.v1.engine.logprobs import LogprobsProcessor

    as_lists = LogprobsProcessor._update_prompt_logprobs

    def as_arrays(self: "LogprobsProcessor", prompt_logprobs_tensors: "LogprobsTensors") -> None:
        flat = self.prompt_logprobs
        if self.tokenizer is not None or not isinstance(flat, FlatLogprobs):
            as_lists(self, prompt_logprobs_tensors)
            return
        token_ids, logprobs, *_ = prompt_logprobs_tensors
        flat.token_ids = _joined(flat.token_ids, token_ids, np.int32)
        flat.logprobs = _joined(flat.logprobs, logprobs, np.float32)

    LogprobsProcessor._update_prompt_logprobs = as_arrays


def _joined(before: Any, rows: Any, dtype: type[np.generic]) -> Any:  # noqa: ANN401 - vLLM's field is a list
    """The flat entries ``before``, followed by those of ``rows``: vLLM may compute a prompt in several parts."""
    new = np.asarray(rows, dtype).ravel()
    return np.concatenate([before, new]) if len(before) else new
