"""Run directories written by hand, as a trainer leaves them."""

from pathlib import Path

from adaswitch.config.run import RunConfig
from adaswitch.runs.attempts import Attempt, begin_attempt
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import append_record
from adaswitch.runs.seal import seal

NUM_STEPS = 8


def settings(folder: Path, *overrides: str, name: str = "run") -> RunConfig:
    """The demo's settings for a short run in ``folder``."""
    few = [f"name={name}", f"runs_dir={folder}", f"trainer.num_steps={NUM_STEPS}"]
    return load_config("configs/demo.yaml", [*few, *overrides])


def begun(
    config: RunConfig, num_steps: int = NUM_STEPS, saved: int | None = None, scores: int = 0
) -> Attempt:
    """An attempt with ``num_steps`` on record, a checkpoint after ``saved``, and an evaluation after ``scores``."""
    attempt = begin_attempt(config)
    for step in range(num_steps):
        append_record(attempt.run.metrics, {"step": step, "step_s": 0.5})
    mark = {"split": "eval", "metric": "exact_match", "n": 500, "unmarked": 0, "eval_s": 1.0}
    for step, value in ((0, 0.24), (scores, 0.808)):
        append_record(attempt.run.evals, {"step": step, "value": value, **mark})
    if saved is not None:
        save_something(attempt.run.checkpoint(saved))
    return attempt


def save_something(checkpoint: Path) -> None:
    """A checkpoint that is whole as far as its seal tells."""
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    seal(checkpoint)
