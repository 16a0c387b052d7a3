"""The version of this project, which pyproject.toml repeats."""

__version__ = "0.1.0"
