"""Run directories of runs that have trained something, with real model folders as checkpoints."""

import shutil
from pathlib import Path

from adaswitch.config.run import RunConfig
from adaswitch.runs.directory import RunDirectory, append_record
from adaswitch.runs.seal import seal
from adaswitch.runs.summary import STEP_FIELDS
from tests.runs import settings

STUDENT = Path("models/chain-student")
STATE = b"the optimizer's state"


def finished(
    folder: Path, *overrides: str, steps: tuple[int, ...] = (4, 8), student: Path = STUDENT
) -> RunDirectory:
    """A run of 8 steps with checkpoints after ``steps``, and marks before and after."""
    config: RunConfig = settings(folder, "student.stop_token_ids=[1]", *overrides)
    run = RunDirectory.create(config)
    for step in range(8):
        figures = dict.fromkeys(STEP_FIELDS, 2)
        append_record(run.metrics, {"step": step, "step_s": 0.5, **figures, "switch_rate": 0.5})
    for step, value in ((0, 0.24), (4, 0.5), (8, 0.808)):
        mark = {"split": "eval", "metric": "exact_match", "n": 500, "unmarked": 0, "eval_s": 1.0}
        append_record(run.evals, {"step": step, "value": value, **mark})
    for step in steps:
        checkpoint(run, step, student)
    return run


def checkpoint(run: RunDirectory, step: int, student: Path = STUDENT) -> Path:
    """A checkpoint with the model of the folder ``student``, and something as the trainer's state."""
    folder = run.checkpoint(step)
    shutil.copytree(student, folder)
    (folder / "trainer_state.pt").write_bytes(STATE)
    seal(folder)
    return folder


def damage_weights(folder: Path) -> None:
    """Change one byte of a checkpoint's weights."""
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
