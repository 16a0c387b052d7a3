"""How much memory an answer's log-probabilities take. The REST side and the engines use the same estimate."""

BYTES_PER_LOGPROB = 120
"""Bytes for one candidate until the request is answered: two Python numbers in vLLM's lists, its share of the arrays,
and its share of the answer's body."""
BYTES_PER_ROW = 100
"""Bytes that each distribution takes in addition: for the lists themselves, and for the token at its position."""


def logprob_bytes(num_rows: int, top_k: int) -> int:
    """The most bytes that ``num_rows`` distributions of ``top_k`` candidates each can take."""
    return num_rows * ((top_k + 1) * BYTES_PER_LOGPROB + BYTES_PER_ROW)
