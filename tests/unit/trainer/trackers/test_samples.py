"""Samples of rollouts: texts in which the switch is marked, and a picture of who wrote which token."""

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from tests.fakes import random_rollout
from trainer.trackers.samples import (
    CELL,
    COLUMNS,
    MAX_CHARACTERS,
    NOTHING,
    NUM_PICTURED,
    NUM_SAMPLES,
    STUDENT,
    TEACHER,
    sample_picture,
    sample_table,
)


def letters(token_ids) -> str:
    return "".join(chr(97 + token) for token in token_ids)


def test_a_row_has_the_text_with_its_switch_and_its_figures() -> None:
    rollout = random_rollout(1, num_student=2, num_teacher=3)
    text = letters(rollout.completion_token_ids)
    [row] = sample_table([rollout], letters).rows
    found = dict(zip(COLUMNS, row, strict=True))
    assert found["prompt"] == letters(rollout.prompt.token_ids)
    assert found["completion"] == f"{text[:2]}▸{text[2:]}"
    assert (found["switched at"], found["tokens"], found["teacher's"]) == (2, 5, 3)
    assert found["mean divergence"] == np.mean(rollout.divergences)
    assert found["ended by"] == rollout.ending.value


def test_a_pen_that_goes_to_and_fro_is_marked_each_time() -> None:
    rollout = random_rollout(1, num_student=2, num_teacher=2)
    rollout = replace(rollout, by_teacher=np.array([True, False, False, True]))
    a, b, c, d = letters(rollout.completion_token_ids)
    assert sample_table([rollout], letters).rows[0][1] == f"▸{a}◂{b}{c}▸{d}"


def test_a_table_is_small_whatever_the_step() -> None:
    rollouts = [random_rollout(seed) for seed in range(NUM_SAMPLES + 3)]
    table = sample_table(rollouts, lambda _: "x" * 10 * MAX_CHARACTERS)
    assert len(table.rows) == NUM_SAMPLES
    assert all(len(str(row[0])) <= MAX_CHARACTERS + 1 for row in table.rows)


def test_the_picture_shows_each_token_in_the_colour_of_its_writer() -> None:
    alone = replace(
        random_rollout(0, num_student=4, num_teacher=0), divergences=(0.0, 9.0), thresholds=(1.0, 1.0)
    )
    picture = sample_picture([alone, random_rollout(1, num_student=0, num_teacher=2)])
    pixels = np.asarray(Image.open(io.BytesIO(picture.png)))
    assert pixels.shape == (picture.height, picture.width, 3) == (2 * CELL, 4 * CELL, 3)
    cells = pixels[::CELL, ::CELL]
    assert tuple(cells[0, 0]) == STUDENT
    assert (cells[0, 1] < np.array(STUDENT)).all()
    assert [tuple(cell) for cell in cells[1]] == [TEACHER, TEACHER, NOTHING, NOTHING]


def test_a_picture_is_small_whatever_the_step() -> None:
    picture = sample_picture([random_rollout(seed) for seed in range(NUM_PICTURED + 9)])
    assert picture.height == NUM_PICTURED * CELL
