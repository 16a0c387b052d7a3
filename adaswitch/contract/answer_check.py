"""The checks that a teacher's answer must pass before its numbers are used."""

from collections.abc import Mapping

import numpy as np

from adaswitch.contract.wire import LogprobsDtype, ModelInfo, SequenceAnswer
from adaswitch.errors import NonFiniteError, TeacherProtocolError

MAX_SUM: Mapping[LogprobsDtype, float] = {"float32": 1.001, "float16": 1.01}
"""The largest sum of a row's probabilities, by the number type of log-probabilities on the network. float16 moves each
log-probability by up to 1/2048 of its value, and so the sum by up to the entropy / 2048: 0.006 for 150,000 equally
likely tokens."""


def check_answer(
    answer: SequenceAnswer, num_rows: int, top_k: int, info: ModelInfo, max_sum: float = MAX_SUM["float16"]
) -> None:
    """Raises unless all rows and log-probabilities are there, finite, falling, and belong to tokens that exist.

    ``max_sum`` is the largest sum of a row's probabilities. The default allows for numbers rounded to 11 bits.
    """
    k = info.vocab_size if top_k == -1 else top_k
    shape = answer.top_ids.shape
    if shape != (num_rows, k) or answer.top_logprobs.shape != shape:
        raise TeacherProtocolError(f"{num_rows} rows of {k} log-probabilities asked, {shape} came")
    if answer.token_logprobs.shape != answer.token_ids.shape:
        raise TeacherProtocolError("a token came without its log-probability")
    for ids in (answer.token_ids, answer.top_ids):
        if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < info.vocab_size:
            raise TeacherProtocolError(f"a token came that is not among the teacher's {info.vocab_size}")
    if not (np.isfinite(answer.top_logprobs).all() and np.isfinite(answer.token_logprobs).all()):
        raise NonFiniteError("a log-probability of the teacher's is not finite")
    if (np.diff(np.sort(answer.top_ids, axis=1), axis=1) == 0).any():
        raise TeacherProtocolError("a row came with the same token twice")
    if (np.diff(answer.top_logprobs, axis=1) > 0).any():
        raise TeacherProtocolError("a row came that is not sorted by falling log-probability")
    if answer.top_logprobs.size and float(np.exp(answer.top_logprobs).sum(-1).max()) > max_sum:
        raise TeacherProtocolError("a row came whose probabilities add up to more than 1")
