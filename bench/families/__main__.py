"""``python -m bench.families``: checks a tiny model of every family as a student and as a teacher on both engines.

Prints one JSON object for each family on standard output. The page docs/models.md is made from them. Each start of vLLM
takes 20 seconds or more, so that all families take half an hour on two cores.

Example:

    python -m bench.families > docs/results/families.jsonl
    python -m bench.families --page docs/results/families.jsonl > docs/models.md
    python -m bench.families --keep-vllm docs/results/families.jsonl > rows.jsonl
"""

import contextlib
import difflib
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from adaswitch.errors import ConfigError
from adaswitch.processes.entry import one_line_errors
from bench.command import command_line


def main() -> None:
    """Check the families that were asked for, or write the page."""
    parser = command_line("bench.families", __doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="families by their names in the table")
    parser.add_argument(
        "--keep-vllm", metavar="ROWS", help="take vLLM's column from these rows instead of vLLM"
    )
    parser.add_argument("--page", metavar="ROWS", help="write the page of these rows, and check nothing")
    arguments = parser.parse_args()
    with one_line_errors():
        if arguments.page is not None:
            _print_page(Path(arguments.page))
        else:
            _check(arguments.only, arguments.keep_vllm)


def _print_page(path: Path) -> None:
    from bench.families.page import page
    from bench.families.rows import read_rows

    print(page(read_rows(path.read_text(encoding="utf-8").splitlines())), end="")


def _check(only: list[str] | None, keep_vllm: str | None) -> None:
    from bench.families.families import FAMILIES
    from bench.families.rows import Row, on_transformers, on_vllm, read_rows, versions

    _require_known(only or [], [family.name for family in FAMILIES])
    kept = {}
    if keep_vllm is not None:
        kept = {
            row.family: row for row in read_rows(Path(keep_vllm).read_text(encoding="utf-8").splitlines())
        }
    for family in FAMILIES:
        if only is not None and family.name not in only:
            continue
        # Some of transformers' modules print when they are loaded.
        with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(sys.stderr):
            student, transformers = on_transformers(family, Path(scratch) / "transformers")
            if family.name in kept:
                vllm, when = kept[family.name].vllm, kept[family.name].versions
            else:
                vllm, when = on_vllm(family, Path(scratch) / "vllm"), versions()
        print(Row(family.name, family.model_type, student, transformers, vllm, when).line(), flush=True)


def _require_known(names: Sequence[str], known: Sequence[str]) -> None:
    """Raises ``ConfigError`` with the nearest known name for the first of ``names`` that is not ``known``."""

    def likeness(wanted: str, name: str) -> float:
        """From 0 to 1: how much ``name``, which may go on in brackets, begins as ``wanted``."""
        return difflib.SequenceMatcher(None, wanted.lower(), name.lower()[: len(wanted)]).ratio()

    for wanted in names:
        if wanted not in known:
            nearest = max(known, key=partial(likeness, wanted))
            raise ConfigError(f"--only: there is no family {wanted!r}; did you mean {nearest!r}?")


if __name__ == "__main__":
    main()
