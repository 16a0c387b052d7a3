"""``python -m bench.threads``: a synchronous run with one thread in each part, against a run with more.

Prints one JSON object a line: for each pair of models and each number of threads the completion tokens a second, and
the parts of a step. The demo's pair is tiny. The pair ``49k`` has Llama shapes of 31M and 60M parameters, random
weights, and V = 49,152. Each run is a served one on vLLM, with processes of its own, and the runs take turns.

Example:

    python -m bench.threads --pairs demo 49k --threads 1 auto --rounds 2
"""

import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from adaswitch.commands.launch import LocalRun
from adaswitch.config.run import RunConfig
from adaswitch.processes.entry import one_line_errors
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import RunDirectory, read_records
from bench.command import command_line
from bench.servers import free_port, say

STUDENT = (49_152, 384, 5, 6)
TEACHER = (49_152, 576, 6, 9)
NUM_UNCOUNTED = 1
"""The first steps of a run are slower and are not counted."""


def main() -> None:
    """Measure, and print a line for each run."""
    parser = command_line("bench.threads", __doc__)
    parser.add_argument("--pairs", nargs="+", choices=["demo", "49k"], default=["demo", "49k"])
    parser.add_argument("--threads", nargs="+", default=["1", "auto"], help="numbers, or auto")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each kind (default: 2)")
    parser.add_argument(
        "--steps", type=int, default=0, help="steps of a run (default: 60 for demo, 4 for 49k)"
    )
    arguments = parser.parse_args()
    with one_line_errors(), tempfile.TemporaryDirectory() as folder:
        for pair in arguments.pairs:
            for number in range(arguments.rounds):
                for threads in arguments.threads:
                    row = measure(Path(folder), pair, threads, arguments.steps, number)
                    print(json.dumps(row), flush=True)


def measure(folder: Path, pair: str, threads: str, num_steps: int, number: int) -> dict[str, object]:
    """One run, as a row: tokens a second, and the medians of a step's parts in seconds."""
    say(f"{pair} with {threads} ...")
    parts = ("student", "trainer", "teacher.serve")
    given = [f"{part}.num_threads={threads}" for part in parts]
    config = (_demo if pair == "demo" else _large)(
        folder, [f"name={pair}-{threads}-{number}", f"runs_dir={folder}", *given], num_steps
    )
    run = LocalRun(config, lambda line: None)
    run.execute(lambda: False, lambda: None)
    records = list(read_records(RunDirectory(folder / config.name).metrics))[NUM_UNCOUNTED:]
    serve = run.config.teacher.serve
    resolved = (run.config.student, run.config.trainer, serve)
    seconds = {
        name: round(median(record[name] for record in records), 4)
        for name in ("step_s", "wait_s", "update_s")
    }
    return {
        "row": "threads",
        "pair": pair,
        "threads": {
            part: each.num_threads for part, each in zip(parts, resolved, strict=True) if each is not None
        },
        "tokens_s": round(
            sum(record["num_tokens"] for record in records) / sum(record["step_s"] for record in records), 1
        ),
        **seconds,
        "steps": len(records),
    }


def _demo(folder: Path, overrides: Sequence[str], num_steps: int) -> RunConfig:
    return load_config(
        "configs/demo.yaml",
        [
            f"teacher.serve.port={free_port()}",
            f"trainer.num_steps={num_steps or 60}",
            "trainer.eval_every=0",
            "trainer.checkpoint_every=0",
            *overrides,
        ],
    )


def _large(folder: Path, overrides: Sequence[str], num_steps: int) -> RunConfig:
    """On-policy, 16 prompts of 32 tokens a step, completions of 64 tokens, k = 64, float32."""
    student, teacher, data = (folder / name for name in ("student", "teacher", "prompts.jsonl"))
    if not data.exists():
        _make_large(student, teacher, data)
    document = folder / "49k.yaml"
    document.write_text(
        f"""
name: 49k
task: {{kind: jsonl, train: {{path: {data}}}}}
teacher: {{top_k: 64, serve: {{model: {teacher}, port: {free_port()}, dtype: float32, max_model_len: 256}}}}
student: {{model: {student}, max_new_tokens: 64}}
policy: {{kind: on_policy}}
trainer: {{num_steps: {num_steps or 4}, prompts_per_step: 16, micro_batch_size: 4, eval_every: 0, checkpoint_every: 0,
  save_rollouts: false}}
""",
        encoding="utf-8",
    )
    return load_config(document, overrides)


def _make_large(student: Path, teacher: Path, data: Path) -> None:
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    from bench.models import Shape, make_model

    for folder, shape in ((student, STUDENT), (teacher, TEACHER)):
        make_model(folder, Shape(*shape))
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        tokenizer.backend_tokenizer.pre_tokenizer = WhitespaceSplit()
        tokenizer.save_pretrained(folder)
    rng = random.Random(0)
    lines = [
        json.dumps({"prompt": " ".join(f"w{rng.randrange(3, 49_152)}" for _ in range(32)), "reference": "w3"})
        for _ in range(300)
    ]
    data.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
