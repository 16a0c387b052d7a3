"""A comparison's plan, and run directories written by hand as complete cells leave them."""

import json
from pathlib import Path

from transformers import PretrainedConfig

from adaswitch.runs.config_files import write_config
from adaswitch.runs.directory import RunDirectory, append_record
from adaswitch.runs.environment import keep_environment
from adaswitch.runs.kept import keep_tokenizer
from adaswitch.runs.shards import save_rollouts
from experiments.plan import Cell, Plan, cells, comparison_folder, keep_plan
from experiments.work import CELL_FILE, FINISHED_FILE
from tests.fakes import random_rollout
from tests.pages import PROMPT, TOKENIZER, text_rollout

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


def looked_at(folder: Path, *, prompt: str = PROMPT, **changes: object) -> Path:
    """The folder of a complete comparison whose runs keep readable rollouts of the same prompts, as a page shows them.

    ``changes`` are entries of the plan.
    """
    plan = Plan.model_validate({**PLAN, "runs_dir": str(folder), "title": "Two methods", **changes})
    keep_plan(plan)
    for cell in cells(plan):
        run = RunDirectory.create(cell.config)
        keep_tokenizer(run, TOKENIZER, PretrainedConfig(model_type="llama"))
        gain = 0.1 * (cell.method == "off_policy") + 0.02 * cell.seed
        complete(cell, [0.2, 0.3 + gain, 0.4 + gain])
        for step in range(2):
            words = f"{cell.method} at {step}"
            save_rollouts(
                run,
                step,
                [
                    text_rollout(step, 0, "3+5=8", f"; {words}", prompt=prompt),
                    text_rollout(step, 1, f"9 says {words}"),
                ],
            )
        attempt = run.attempts / "1"
        attempt.mkdir(parents=True)
        keep_environment(attempt)
    return comparison_folder(plan)
