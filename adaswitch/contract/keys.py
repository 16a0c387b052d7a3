"""Bearer keys as service and client take them from the environment."""


def split_keys(text: str) -> list[str]:
    """The bearer keys in an environment variable: one key, or several keys separated by commas or blanks."""
    return text.replace(",", " ").split()
