"""How many tokens a mean rollout of a recipe has, and who handles them.

The lengths are round figures for the tasks' public data with tokenizers of 128k to 256k tokens. Where AdaSwitch hands
over was seen on one real pair only (docs/paper.md). So these are assumptions, and stand here in one place.
"""

from dataclasses import dataclass

from adaswitch.method.policies.base import Policy
from bench.scaling_model import Work

SWITCH_TOKEN = 45
"""The token at which AdaSwitch with a window of 20 hands over, in the mean, on a warm real pair."""
WASTED = 0.1
"""The share of the student's tokens that are written in vain in chunks of 32."""
REPLACED = 0.1
"""The share of the tokens that the teacher writes in SKD. Each takes a request, and most of a chunk is written anew."""
REWRITTEN = 1.5
"""How often SKD's student writes a token until one stands."""


@dataclass(frozen=True)
class Lengths:
    """Mean numbers of tokens: a prompt with its chat template, a model's completion, and the data set's own answer."""

    prompt: int
    completion: int
    reference: int


LENGTHS = {
    "gsm8k": Lengths(prompt=110, completion=180, reference=140),
    "gsm_plus": Lengths(prompt=110, completion=180, reference=140),
    "dialogsum": Lengths(prompt=230, completion=45, reference=35),
}
"""By the kind of the task."""


def work_of(policy: Policy, lengths: Lengths) -> Work:
    """The tokens of a mean rollout with ``policy``. A prompt is scored once, and then in the teacher's cache."""
    prompt, whole = lengths.prompt, lengths.completion
    switch = min(SWITCH_TOKEN, whole)
    match policy.name:
        case "sft":
            return Work(0, 0, 0, prompt + lengths.reference)
        case "dataset":
            return Work(0, prompt + lengths.reference, 0, prompt + lengths.reference)
        case "on_policy":
            return Work(whole, prompt + whole, 0, prompt + whole)
        case "off_policy":
            return Work(0, prompt, whole, prompt + whole)
        case "mixed":
            mean = (whole + lengths.reference) / 2
            return Work(whole / 2, prompt + mean, 0, prompt + mean)
        case "skd":
            return Work(REWRITTEN * whole, prompt + REWRITTEN * whole, REPLACED * whole, prompt + whole)
        case "adaswitch" | "threshold" | "random_switch":
            return Work((1 + WASTED) * switch, prompt + switch, whole - switch, prompt + whole)
        case other:
            raise ValueError(f"nothing is assumed of the policy {other}: add it to bench/recipes/tokens.py")
