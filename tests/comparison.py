"""A comparison's plan, and run directories written by hand as complete cells leave them."""

import json

from adaswitch.runs.config_files import write_config
from adaswitch.runs.directory import RunDirectory, append_record
from adaswitch.runs.shards import save_rollouts
from experiments.plan import Cell
from experiments.work import CELL_FILE, FINISHED_FILE
from tests.fakes import random_rollout

PLAN = {
    "name": "two",
    "base": "configs/demo.yaml",
    "seeds": [3, 5],
    "settings": {"task.seed": "{seed}", "student.model": "models/starts/warm-{seed}"},
    "methods": {"adaswitch": {}, "off_policy": {"policy": {"kind": "off_policy"}}},
}


def complete(cell: Cell, values: list[float | None], teacher_tokens: int = 100, unmarked: int = 0) -> None:
    """Write what a run of two steps leaves behind; of 10 prompts ``unmarked`` are, and all where the value is None."""
    run = RunDirectory.create(cell.config)
    write_config(cell.config, run.path / CELL_FILE)
    for step in range(2):
        tokens = {"student_tokens": 10, "wasted_tokens": 1, "scored_tokens": 0}
        record = {"step": step, "switch_rate": 0.5, "mean_switch_position": 4.0 if step else None}
        append_record(run.metrics, {**record, **tokens, "teacher_tokens": teacher_tokens, "step_s": 0.25})
        if cell.method == "adaswitch":
            save_rollouts(run, step, [random_rollout(seed, num_student=3 + seed % 4) for seed in range(10)])
    for step, value in enumerate(values):
        record = {"step": step, "task": "chain", "split": "eval", "metric": "exact_match", "value": value}
        without = 10 if value is None else unmarked
        append_record(run.evals, {**record, "n": 10 - without, "unmarked": without})
    (run.path / FINISHED_FILE).write_text(json.dumps({"wall_s": 7.0, "cpu_s": 2.0}))
