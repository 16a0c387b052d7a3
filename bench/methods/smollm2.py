"""Rows ``smollm2``: seconds of a step of SKD and of AdaSwitch on a real pair, against what a step took before.

The pair is made by ``make smollm2``. The prompts are GSM8K's.
"""

from pathlib import Path
from statistics import median

from adaswitch.errors import EnvironmentProblem
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import read_records
from bench.methods.pairs import ROOT, on_free_port
from bench.methods.rows import compared
from bench.methods.training import WARM_UP_STEPS, train

CONFIG = ROOT / "configs/gsm8k-smollm2-cpu.yaml"
BEFORE_S = {"skd": 72.0, "adaswitch": 18.5}
"""The seconds of a step on the machine of docs/performance.md, before students wrote with vLLM."""


def measure(folder: Path, num_rounds: int, data: Path | None) -> None:
    """Print a row for each policy."""
    if data is None:
        raise EnvironmentProblem("the rows of smollm2 need --data FILE, GSM8K's train.jsonl")
    for kind, before_s in BEFORE_S.items():
        seconds = []
        for number in range(num_rounds):
            overrides = [
                f"name={kind}-{number}",
                f"runs_dir={folder / 'runs'}",
                f"policy={{kind: {kind}, chunk_size: 32}}",
                f"task.train={{path: {data}}}",
                *("task.eval=null", "trainer.eval_every=0"),
                *("student.max_new_tokens=128", "trainer.prompts_per_step=16"),
                *on_free_port(),
            ]
            run = train(load_config(CONFIG, overrides), folder, num_steps=WARM_UP_STEPS + 3)
            steps = list(read_records(run.metrics))[WARM_UP_STEPS:]
            seconds.append(median(step["step_s"] for step in steps))
        title = f"smollm2, {kind}: seconds of a step, against what it took before"
        row = compared(title, seconds, [before_s] * len(seconds), "s", 0.5, at_least=False)
        print(row.line(), flush=True)
