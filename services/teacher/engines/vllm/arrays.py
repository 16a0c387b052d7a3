"""Prompts' log-probabilities as arrays on their way out of vLLM, in the service's own process."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from vllm.v1.engine.logprobs import LogprobsProcessor
    from vllm.v1.outputs import LogprobsTensors


def keep_prompt_arrays() -> None:
    """From now on ``FlatLogprobs`` of prompts hold arrays where they had lists; ranks and places are left out.

    vLLM gets arrays from its engine, and appends four Python objects a candidate to lists: for small models more
    work than the model's own. Where tokens are spelled out it still does.
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

    LogprobsProcessor._update_prompt_logprobs = as_arrays  # type: ignore[method-assign]


def _joined(before: Any, rows: Any, dtype: type[np.generic]) -> Any:  # noqa: ANN401 - vLLM's field is a list
    """Of a prompt that is computed in parts, what came before and the next ``rows``, flat."""
    new = np.asarray(rows, dtype).ravel()
    return np.concatenate([before, new]) if len(before) else new
