"""What an answer's log-probabilities take of memory, as both sides of the service reckon it."""

BYTES_PER_LOGPROB = 120
"""Of one token's candidate until it is answered: two Python numbers in vLLM's lists, then arrays, then the body."""
BYTES_PER_ROW = 100
"""Of the lists' own, and of the token itself."""


def logprob_bytes(num_rows: int, top_k: int) -> int:
    """Memory for ``num_rows`` distributions of ``top_k`` candidates, at the most."""
    return num_rows * ((top_k + 1) * BYTES_PER_LOGPROB + BYTES_PER_ROW)
