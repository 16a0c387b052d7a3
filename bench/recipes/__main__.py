"""``python -m bench.recipes``: what the paper's recipes take on GPUs, in memory and in hours, as an estimate.

Prints the two tables of docs/paper.md, from the files in configs/paper/ and experiments/plans/ and the model of
bench/scaling_model.py. It computes nothing but sums, and needs no GPU.

Example:

    python -m bench.recipes
"""

from adaswitch.processes.entry import one_line_errors
from bench.command import command_line


def main() -> None:
    """Print the tables."""
    command_line("bench.recipes", __doc__).parse_args()
    with one_line_errors():
        from bench.recipes.tables import tables

        print(tables(), end="")


if __name__ == "__main__":
    main()
