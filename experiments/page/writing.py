"""Writes the page of a comparison into a file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adaswitch.commands.page import page_file
from adaswitch.pages.html import COMPARISON, page_html
from adaswitch.storage import write_atomically
from experiments.page.content import comparison_parts


@dataclass(frozen=True)
class WrittenPage:
    """A page in a file."""

    file: Path
    num_bytes: int
    problems: list[str]
    """What could not be read, a line each."""


def write_comparison_page(
    folder: Path, out: Path | None = None, say: Callable[[str], None] = lambda words: None
) -> WrittenPage:
    """Write the page of the comparison in ``folder`` to ``out``, by default into the folder. Raises ``UserError``."""
    parts = comparison_parts(folder, say)
    file = page_file(folder, out)
    content = page_html(folder.resolve().name, parts, kind=COMPARISON).encode()
    write_atomically(file, content)
    return WrittenPage(file, len(content), [line for part in parts.values() for line in part["problems"]])
