"""Bearer keys as service and client take them from the environment."""


def split_keys(text: str) -> list[str]:
    """The bearer keys in an environment variable: one, or several with commas or blanks between."""
    return text.replace(",", " ").split()
