"""``python -m bench.methods``: what each way of distilling costs beside plain on-policy distillation, and beside TRL.

Prints one JSON object for each row on standard output, with the keys ``row``, ``ours``, ``peer``, ``unit``, ``ratio``,
``target``, ``pass`` and ``spread``, the smallest and the largest ratio of a round. The two sides of a row take turns,
and each figure is the median over the rounds. All rows together take about an hour on two cores, which should have
nothing else to do. TRL runs in an environment of its own, which the first call makes in the folder of ``--trl``.

Example:

    python -m bench.methods --trl .trl > docs/results/methods.jsonl
    python -m bench.methods --rows waits --rounds 3
"""

import argparse
import os
import tempfile
from pathlib import Path

from adaswitch.processes.entry import one_line_errors
from bench.command import command_line

PARTS = ("decoding", "waits", "training", "smollm2")


def main() -> None:
    """Measure the rows that were asked for."""
    parser = command_line("bench.methods", __doc__)
    parser.add_argument("--rows", nargs="+", choices=PARTS, default=list(PARTS[:3]))
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison (default: 5)")
    parser.add_argument(
        "--trl", type=Path, metavar="FOLDER", help="where TRL's environment is, or is to be made"
    )
    parser.add_argument(
        "--data", type=Path, metavar="FILE", help="GSM8K's train.jsonl, for the rows of the SmolLM2 pair"
    )
    arguments = parser.parse_args()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with one_line_errors(), tempfile.TemporaryDirectory() as folder:
        _measure(arguments, Path(folder))


def _measure(arguments: argparse.Namespace, folder: Path) -> None:
    from bench.methods import decoding, smollm2, training, waits

    if "decoding" in arguments.rows:
        decoding.measure(folder, arguments.rounds)
    if "waits" in arguments.rows:
        waits.measure(folder, arguments.rounds)
    if "training" in arguments.rows:
        training.measure(folder, arguments.rounds, arguments.trl)
    if "smollm2" in arguments.rows:
        smollm2.measure(folder, arguments.rounds, arguments.data)


if __name__ == "__main__":
    main()
