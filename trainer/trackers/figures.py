"""The table by which trackers explain the figures that they get: their names there, and the words for them."""

from adaswitch.runs.figures import FIGURES
from trainer.trackers.base import Table

STEP = "train/"
"""What stands in front of the name of a step's figure."""
COLUMNS = ("name", "figure", "unit", "what it is")
NOT_OF_A_STEP = {"eval_s"}


def figure_table() -> Table:
    """A row for each figure of a step."""
    rows = (
        (f"{STEP}{name}", figure.words, figure.unit, figure.meaning)
        for name, figure in FIGURES.items()
        if name not in NOT_OF_A_STEP
    )
    return Table("figures", COLUMNS, tuple(rows))
