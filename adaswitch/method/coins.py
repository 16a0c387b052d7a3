"""One random number for each prompt, for policies that draw once for a whole rollout. This module needs no torch."""

import hashlib
from collections.abc import Sequence
from itertools import accumulate

from adaswitch.method.prompt import Prompt


def prompt_coin(seed: int, prompt_id: int) -> float:
    """A uniform number in [0, 1) for a prompt, independent of the numbers with which its tokens are drawn."""
    digest = hashlib.sha256(f"adaswitch coin {seed} {prompt_id}".encode()).digest()
    return (int.from_bytes(digest[:8], "little") >> 11) / 2**53


def coin_of(prompt: Prompt) -> float:
    """``prompt.coin``. Raises ``ValueError`` if there is no coin: a default would bias the policy's choice."""
    if prompt.coin is None:
        raise ValueError(
            f"prompt {prompt.id} comes without a coin: PromptSchedule makes prompts that have one"
        )
    return prompt.coin


def switch_place(probabilities: Sequence[float], coin: float) -> int | None:
    """The place that a ``coin`` in [0, 1) draws: i with ``probabilities[i]``, None with the rest up to 1."""
    for place, below in enumerate(accumulate(probabilities)):
        if coin < below:
            return place
    return None
