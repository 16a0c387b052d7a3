"""``python -m bench.trainer``: what a step of training takes, on the CPU with one thread.

Rows: packing against padding, logits in pieces against whole ones, a step against TRL's trainer (with ``--trl``),
layers that are compiled, two ranks against one, and adapters against all weights.

Prints one JSON object for each row on standard output: CPU seconds, which other programs disturb little, and memory.
The two sides of a row take turns, each in a process of its own, and each figure is the median over the rounds. Only the
row of the ranks counts seconds on the clock, so that the machine should have nothing else to do.

Example:

    python -m bench.trainer --trl .trl > rows.jsonl
    python -m bench.trainer --rows ranks adapters
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from adaswitch.processes.entry import one_line_errors
from bench.command import command_line
from bench.methods.rows import compared
from bench.servers import say

PARTS = ("ragged", "logits", "full", "compile", "ranks", "adapters")
SIDES = (
    *("packed", "padded", "pieces", "whole", "full", "compiled", "not compiled"),
    *("all weights", "adapters", "1 rank", "2 ranks"),
)
Figures = dict[str, float]


def main() -> None:
    """Print all rows, or, in a process of its own, what one side takes."""
    parser = command_line("bench.trainer", __doc__)
    parser.add_argument("--rows", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison (default: 5)")
    parser.add_argument(
        "--trl", type=Path, metavar="FOLDER", help="where TRL's environment is, or is to be made"
    )
    parser.add_argument("--side", choices=SIDES, help="measure this side alone, and print its figures")
    arguments = parser.parse_args()
    with one_line_errors():
        if arguments.side is None:
            _print_rows(arguments)
        else:
            from bench.trainer_sides import measure

            print(json.dumps(measure(arguments.side)))


def _print_rows(arguments: argparse.Namespace) -> None:
    rounds = arguments.rounds
    if "ragged" in arguments.rows:
        _row("ragged: a step packed against padded", "packed", "padded", {"cpu_s": 0.6}, rounds)
    if "logits" in arguments.rows:
        targets = {"growth_mib": 0.65, "cpu_s": 1.15}
        _row("logits' memory, projected in pieces against whole", "pieces", "whole", targets, rounds)
    if "full" in arguments.rows and arguments.trl is not None:
        with tempfile.TemporaryDirectory() as folder:
            _against_trl(arguments.trl, Path(folder), rounds)
    if "compile" in arguments.rows:
        _row("a second step, its layers compiled", "compiled", "not compiled", {"cpu_s": 1.0}, rounds)
    if "ranks" in arguments.rows:
        _row("2 ranks against 1, one thread each", "2 ranks", "1 rank", {"tokens_per_s": 1.6}, rounds)
    if "adapters" in arguments.rows:
        targets = {"trained_mib": 0.1, "board_mib": 0.05}
        _row("adapters of rank 16 against all weights, 81M", "adapters", "all weights", targets, 1)


def _against_trl(environment: Path, folder: Path, rounds: int) -> None:
    from bench.methods.pairs import large
    from bench.methods.training import run_trl, trl_python

    python = trl_python(environment)
    large(folder)  # makes the models and the prompts

    def theirs() -> Figures:
        """TRL's figures under our names."""
        figures = run_trl(python, folder, OMP_NUM_THREADS="1")
        return {"cpu_s": figures["update_cpu_s"], "peak_mib": figures["peak_mib"]}

    _compare(
        "a step of 16 x (32 + 128) tokens, V = 49,152, without generation and teacher, against TRL's",
        lambda: _measured("full"),
        theirs,
        {"cpu_s": 0.45, "peak_mib": 0.33},
        rounds,
    )


def _row(name: str, ours: str, peer: str, targets: Figures, rounds: int) -> None:
    _compare(name, lambda: _measured(ours), lambda: _measured(peer), targets, rounds)


def _compare(
    name: str, ours: Callable[[], Figures], peer: Callable[[], Figures], targets: Figures, rounds: int
) -> None:
    """Print a row for each figure that has a target. A pace is to be higher, everything else to be lower."""
    found: list[tuple[Figures, Figures]] = []
    for number in range(rounds):
        say(f"{name}: round {number + 1} of {rounds}")
        found.append((ours(), peer()))
    for figure, target in targets.items():
        mine, theirs = ([each[side][figure] for each in found] for side in (0, 1))
        row = compared(f"{name}: {figure}", mine, theirs, figure, target, at_least=figure == "tokens_per_s")
        print(row.line(), flush=True)


def _measured(side: str) -> Figures:
    command = [sys.executable, "-m", "bench.trainer", "--side", side]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    main()
