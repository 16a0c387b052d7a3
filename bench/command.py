"""The command line of a benchmark."""

import argparse


def command_line(module: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of ``python -m module``, whose ``--help`` prints ``description``, the docstring, as it is."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
