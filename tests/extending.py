"""The examples of ``docs/extending.md``, as files in a folder."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/extending.md"
BLOCK = re.compile(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> dict[str, str]:
    """Each file on the page by its name, with what is in it."""
    return dict(BLOCK.findall(PAGE.read_text(encoding="utf-8")))


def write_examples(folder: Path) -> None:
    """Put the page's Python files into ``folder``."""
    for name, content in examples().items():
        if name.endswith(".py"):
            (folder / name).write_text(content, encoding="utf-8")
