"""``python -m bench.teacher``: compares the teacher service with vLLM's own server, and with the engine alone.

Prints one JSON object for each row on standard output, with the keys ``row``, ``ours``, ``peer``, ``unit``, ``ratio``,
``target`` and ``pass``. The figures are medians over alternating rounds. The benchmark runs on CPU with one thread for
each engine, and takes about five minutes on two cores.

Example:

    python -m bench.teacher > results.jsonl
"""

import asyncio
import tempfile
from pathlib import Path

from adaswitch.processes.entry import one_line_errors
from bench.command import command_line


def main() -> None:
    """Measure all rows, with each model that was asked for."""
    parser = command_line("bench.teacher", __doc__)
    parser.add_argument("--models", nargs="+", choices=["small", "large"], default=["small", "large"])
    arguments = parser.parse_args()
    with one_line_errors(), tempfile.TemporaryDirectory() as folder:
        from bench.models import LARGE, SMALL
        from bench.teacher_rows import measure

        for name in arguments.models:
            asyncio.run(measure(name, {"small": SMALL, "large": LARGE}[name], Path(folder)))


if __name__ == "__main__":
    main()
