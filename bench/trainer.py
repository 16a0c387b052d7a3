"""``python -m bench.trainer``: what packing and projecting in pieces save a trainer, on the CPU with one thread.

Prints one JSON object for each row on standard output: CPU seconds, which other programs disturb little, and the
largest growth of memory. Each measurement of memory is a process of its own.

Example:

    python -m bench.trainer > rows.jsonl
"""

import json
import subprocess
import sys
from statistics import median

from adaswitch.processes.entry import one_line_errors
from bench.command import command_line
from bench.rounds import Row

NUM_ROUNDS = 3
SIDES = ("packed", "padded", "pieces", "whole")


def main() -> None:
    """Print all rows, or, in a process of its own, what one side takes."""
    parser = command_line("bench.trainer", __doc__)
    parser.add_argument("--side", choices=SIDES, help="measure this side alone: [CPU seconds, MiB]")
    side = parser.parse_args().side
    with one_line_errors():
        if side is None:
            _print_rows()
        else:
            from bench.trainer_sides import measure

            print(json.dumps(measure(side)))


def _print_rows() -> None:
    pairs = [("packed", "padded"), ("pieces", "whole")]
    found = {side: [_measured(side) for _ in range(NUM_ROUNDS)] for pair in pairs for side in pair}
    seconds, mib = ({side: median(m[i] for m in all_) for side, all_ in found.items()} for i in (0, 1))
    ragged, logits = (
        "ragged: a step packed against padded",
        "logits' memory, projected in pieces against whole",
    )
    for name, (ours, peer), values, unit, target in (
        (ragged, pairs[0], seconds, "CPU s", 0.6),
        (f"{logits}: bytes", pairs[1], mib, "MiB", 0.65),
        (f"{logits}: time", pairs[1], seconds, "CPU s", 1.15),
    ):
        ratio = values[ours] / values[peer]
        row = Row(name, values[ours], values[peer], unit, ratio, target, at_least=False, rounds=NUM_ROUNDS)
        print(row.line(), flush=True)


def _measured(side: str) -> list[float]:
    command = [sys.executable, "-m", "bench.trainer", "--side", side]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    numbers: list[float] = json.loads(done.stdout.splitlines()[-1])
    return numbers


if __name__ == "__main__":
    main()
