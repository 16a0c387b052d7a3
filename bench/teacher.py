"""``python -m bench.teacher``: the teacher service against vLLM's own server, and against the engine under it.

One JSON line a row on standard output: ``row``, ``ours``, ``peer``, ``unit``, ``ratio``, ``target``, ``pass``.
Medians of rounds in turn. On CPU, one thread an engine; about five minutes on two cores.

Example:

    python -m bench.teacher > results.jsonl
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from adaswitch.processes.entry import one_line_errors


def main() -> None:
    """Run all rows of the models that were asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.teacher",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", choices=["small", "large"], default=["small", "large"])
    arguments = parser.parse_args()
    with one_line_errors(), tempfile.TemporaryDirectory() as folder:
        from bench.models import LARGE, SMALL
        from bench.teacher_rows import measure

        for name in arguments.models:
            asyncio.run(measure(name, {"small": SMALL, "large": LARGE}[name], Path(folder)))


if __name__ == "__main__":
    main()
