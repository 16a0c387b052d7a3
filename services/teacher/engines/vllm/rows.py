"""Turns vLLM's flat log-probabilities into answers of the REST contract. Imports nothing of vLLM.

Shapes: n positions, k candidates. A position has k + 1 entries: first the token at this position (of the prompt, or
drawn), then the k most likely tokens by falling log-probability.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adaswitch.contract.wire import FinishReason, ScoreSequence, SequenceAnswer
from services.teacher.engines.engine import EngineFaultError, check_finite


class FlatLogprobs(Protocol):
    """vLLM's ``FlatLogprobs``: the entries of all positions, one after the other. Those of a prompt are arrays."""

    token_ids: Sequence[int] | NDArray[np.int32]
    logprobs: Sequence[float] | NDArray[np.float32]


class MissingRowError(Exception):
    """A row that was asked for lies in the part that vLLM took from its prefix cache."""


def scored_answer(
    sequence: ScoreSequence, prompt: FlatLogprobs, sampled: FlatLogprobs, k: int, num_cached: int = 0
) -> SequenceAnswer:
    """The answer with the rows ``start .. len``: the last rows of ``prompt``, then the single row of ``sampled``.

    ``prompt`` may lack rows before ``start``, but never rows after it; position 0 of a prompt has no entries.
    The distribution after n tokens is computed when the n-th token is, so vLLM has it if n > ``num_cached``. Raises
    ``MissingRowError`` if a row that was asked for is missing. If vLLM preempted the request, ``num_cached``, which
    is vLLM's count, may be too low; but rows that vLLM never computed are NaN and raise the same error.
    """
    start = sequence.start
    if num_cached >= start:
        raise MissingRowError
    ids, logprobs = _table(prompt, k)
    last_ids, last_logprobs = _table(sampled, k)
    unasked = len(ids) - (len(sequence.token_ids) - start)
    if unasked < 0 or len(last_ids) != 1:
        raise EngineFaultError("vLLM returned fewer positions than it was asked for")
    ids, logprobs = ids[unasked:], logprobs[unasked:]
    if num_cached and np.isnan(logprobs).any():
        raise MissingRowError
    if not np.array_equal(ids[:, 0], sequence.token_ids[start:]):
        raise EngineFaultError("vLLM returned the log-probabilities of other tokens than it was asked for")
    return check_finite(
        SequenceAnswer(
            token_ids=ids[:, 0].copy(),
            token_logprobs=logprobs[:, 0].copy(),
            top_ids=np.concatenate([ids[:, 1:], last_ids[:, 1:]]),
            top_logprobs=np.concatenate([logprobs[:, 1:], last_logprobs[:, 1:]]),
        )
    )


def generated_answer(
    token_ids: Sequence[int], flat: FlatLogprobs, k: int, finish_reason: FinishReason
) -> SequenceAnswer:
    """The answer for a continuation: row j is the distribution that ``token_ids[j]`` was drawn from."""
    ids, logprobs = _table(flat, k)
    if not np.array_equal(ids[:, 0], token_ids):
        raise EngineFaultError("vLLM returned the log-probabilities of other tokens than it generated")
    return check_finite(
        SequenceAnswer(
            token_ids=ids[:, 0].copy(),
            token_logprobs=logprobs[:, 0].copy(),
            top_ids=ids[:, 1:].copy(),
            top_logprobs=logprobs[:, 1:].copy(),
            finish_reason=finish_reason,
        )
    )


def _table(flat: FlatLogprobs, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The token ids ``[n, k + 1]`` and the log-probabilities ``[n, k + 1]`` of ``flat``."""
    if len(flat.token_ids) % (k + 1):
        raise EngineFaultError("vLLM returned positions with different numbers of candidates")
    ids = np.array(flat.token_ids, dtype=np.int32).reshape(-1, k + 1)
    return ids, np.array(flat.logprobs, dtype=np.float32).reshape(-1, k + 1)
