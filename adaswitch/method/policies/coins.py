"""A prompt's coin, where a policy needs it."""

from adaswitch.method.prompt import Prompt


def coin_of(prompt: Prompt) -> float:
    """``prompt.coin``. Raises ``ValueError`` without one: another number in its place would bias what is drawn."""
    if prompt.coin is None:
        raise ValueError(
            f"prompt {prompt.id} comes without a coin: PromptSchedule makes prompts that have one"
        )
    return prompt.coin
