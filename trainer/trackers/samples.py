"""Samples of a step's rollouts for trackers: a table of texts, and a picture of who wrote which token."""

import io
from collections.abc import Callable, Sequence
from itertools import groupby
from statistics import fmean

import numpy as np
from PIL import Image

from adaswitch.method.rollout import Rollout
from adaswitch.runs.figures import FIGURES
from trainer.trackers.base import Cell, Picture, Table

NUM_SAMPLES = 8
NUM_PICTURED = 64
"""The largest number of rollouts in a picture, a row each."""
MAX_CHARACTERS = 2000
"""The largest number of characters of a text."""
TEACHER_MARK, STUDENT_MARK = "▸", "◂"
"""What stands where the teacher begins to write, and where the student goes on."""
COLUMNS = (
    "prompt",
    "completion",
    "switched at",
    "tokens",
    "teacher's",
    FIGURES["mean_divergence"].words,
    "ended by",
    "weights",
)
CELL = 6
"""The width and height of a token in a picture, in pixels."""
STUDENT, TEACHER, NOTHING = (59, 130, 246), (245, 158, 11), (255, 255, 255)
"""Blue, orange, white. The student's tokens are the darker, the larger the divergence is."""
DARKEST_NATS = 3.0

Decode = Callable[[Sequence[int]], str]


def sample_table(rollouts: Sequence[Rollout], decode: Decode) -> Table:
    """The first ``NUM_SAMPLES`` of ``rollouts``, as texts in which the places of a switch are marked."""
    return Table("rollouts", COLUMNS, tuple(_row(rollout, decode) for rollout in rollouts[:NUM_SAMPLES]))


def _row(rollout: Rollout, decode: Decode) -> tuple[Cell, ...]:
    return (
        _cut(decode(rollout.prompt.token_ids)),
        _cut(_written(rollout, decode)),
        rollout.switch_position,
        rollout.num_tokens,
        int(rollout.by_teacher.sum()),
        fmean(rollout.divergences) if rollout.divergences else None,
        rollout.ending.value,
        rollout.weights_version,
    )


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"


def _written(rollout: Rollout, decode: Decode) -> str:
    parts, place = list[str](), 0
    for by_teacher, stretch in groupby(rollout.by_teacher.tolist()):
        end = place + len(list(stretch))
        if by_teacher or place:
            parts.append(TEACHER_MARK if by_teacher else STUDENT_MARK)
        parts.append(decode(rollout.completion_token_ids[place:end]))
        place = end
    return "".join(parts)


def sample_picture(rollouts: Sequence[Rollout]) -> Picture:
    """The first ``NUM_PICTURED`` of ``rollouts``, a row each and a square a token, in the colour of its writer."""
    shown = rollouts[:NUM_PICTURED]
    width = max(rollout.num_tokens for rollout in shown)
    cells = np.full((len(shown), width, 3), NOTHING, dtype=np.uint8)
    for row, rollout in zip(cells, shown, strict=True):
        by_teacher = rollout.by_teacher[:, None]
        row[: rollout.num_tokens] = np.where(by_teacher, TEACHER, _shaded(rollout))
    pixels = cells.repeat(CELL, axis=0).repeat(CELL, axis=1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return Picture("writers", file.getvalue(), pixels.shape[1], pixels.shape[0])


def _shaded(rollout: Rollout) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The student's colour at each token ``[T, 3]``, darker where a divergence was seen."""
    share = np.zeros(rollout.num_tokens)
    seen = np.clip(np.asarray(rollout.divergences[: rollout.num_tokens]) / DARKEST_NATS, 0.0, 1.0)
    share[: len(seen)] = seen
    colour: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = np.asarray(STUDENT) * (
        1 - 0.7 * share[:, None]
    )
    return colour
