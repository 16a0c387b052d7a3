"""Run directories with texts of one's choice, as a page shows them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import PretrainedConfig

from adaswitch.method.distribution import top_k
from adaswitch.method.prompt import Prompt
from adaswitch.method.rollout import Candidates, Costs, Ending, Rollout
from adaswitch.pages.curves import CHARTS
from adaswitch.runs.attempts import begin_attempt
from adaswitch.runs.directory import RunDirectory, append_record, append_records
from adaswitch.runs.kept import keep_tokenizer
from adaswitch.runs.shards import save_rollouts
from tests.chat_tokenizer import byte_tokenizer
from tests.runs import settings

TOKENIZER = byte_tokenizer()
PROMPT = "What is 3+5?"
V = len(TOKENIZER)


def text_rollout(step: int, number: int, student: str, teacher: str = "", prompt: str = PROMPT) -> Rollout:
    """A rollout in which the student wrote one text and the teacher went on with another, a byte a token."""
    ids = [TOKENIZER.encode(text, add_special_tokens=False) for text in (prompt, student, teacher)]
    written = ids[1] + ids[2]
    watched = len(ids[1]) + bool(ids[2])
    divergences = [0.1 + 0.05 * (i % 4) for i in range(watched)]
    thresholds = [float("inf")] * min(2, watched) + [0.4] * max(0, watched - 2)
    if ids[2]:
        divergences[watched - 1], thresholds[watched - 1] = 1.5, 0.4
    logits = torch.zeros(len(written), V)
    logits[range(len(written)), written] = 5.0
    shown = np.tile(np.arange(5, dtype=np.int32), (watched, 1))
    return Rollout(
        prompt=Prompt(100 * step + number, tuple(ids[0]), record=number + 1, step=step),
        completion_token_ids=tuple(written),
        by_teacher=np.arange(len(written)) >= len(ids[1]),
        teacher=top_k(logits.log_softmax(-1), 8),
        divergences=tuple(divergences),
        thresholds=tuple(thresholds),
        ending=Ending.LENGTH,
        weights_version=step,
        costs=Costs(len(ids[1]), 0, len(ids[1]), len(ids[2])),
        student_top=Candidates(
            shown, np.log(np.tile([0.5, 0.2, 0.1, 0.05, 0.01], (watched, 1))).astype("f4")
        ),
    )


def begun_run(folder: Path, *overrides: str, name: str = "run") -> RunDirectory:
    """A run that has begun, with its tokenizer, and has done nothing yet."""
    run = begin_attempt(settings(folder, *overrides, name=name)).run
    keep_tokenizer(run, TOKENIZER, PretrainedConfig(model_type="llama"))
    return run


def record_step(run: RunDirectory, step: int, rollouts: Sequence[Rollout] = ()) -> None:
    """Add a step to the records of ``run``, and its rollouts if there are any."""
    names = [line.name for chart in CHARTS for line in chart.lines]
    values = dict.fromkeys(names, 1 / (step + 1)) | {"switch_rate": 0.5, "mean_switch_position": 4.0}
    tokens = {"student_tokens": 120, "wasted_tokens": 20, "scored_tokens": 120, "teacher_tokens": 80}
    append_record(run.metrics, {"step": step, "step_s": 0.5, **values, **tokens, "staleness": 0})
    if rollouts:
        save_rollouts(run, step, rollouts)


def record_scores(run: RunDirectory, step: int, value: float) -> None:
    """Add an evaluation to the records of ``run``."""
    score = {"metric": "exact_match", "value": value, "n": 500, "unmarked": 0, "eval_s": 1.0}
    append_records(run.evals, [{"step": step, "split": split, **score} for split in ("eval", "harder")])


def page_run(folder: Path, num_steps: int = 3, name: str = "run") -> RunDirectory:
    """A run of some steps with two rollouts each: one that switches and one that does not."""
    run = begun_run(folder, name=name)
    record_scores(run, 0, 0.24)
    for step in range(num_steps):
        record_step(
            run,
            step,
            [
                text_rollout(step, 0, "3+5=8", f"; so #8 at {step}"),
                text_rollout(step, 1, f"it is 9 or {step}", prompt=f"What is {step}+1?"),
            ],
        )
    record_scores(run, num_steps, 0.8)
    return run
