"""Trains with TRL's DistillationTrainer, in TRL's own environment, and prints the completion tokens a second.

The last line of standard output is a JSON object with ``tokens_per_s``, ``update_cpu_s``, the CPU seconds of a step
without its generation and without the teacher's hidden states, and ``peak_mib``, the largest memory of the process. The
divergence is TRL's own over the whole
vocabulary. Float32 on CPU, all cores, and no gradient checkpointing, which would only cost time here.

Example:

    .trl/bin/python bench/methods/trl_program.py STUDENT TEACHER prompts.jsonl 128 10 2
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from statistics import median
from typing import Any

BATCH = 16


def main() -> None:
    """Train, and print the result."""
    parser = argparse.ArgumentParser(
        prog="trl_program.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("student", "teacher", "data"):
        parser.add_argument(name)
    for name in ("completion_tokens", "num_steps", "warm_up_steps"):
        parser.add_argument(name, type=int)
    print(json.dumps(train(parser.parse_args())), flush=True)


class Left:
    """CPU seconds that are left out of a step's."""

    def __init__(self) -> None:
        self.cpu_s = 0.0

    def out(self, work: Callable[..., Any], which: Callable[..., bool]) -> Callable[..., Any]:
        """``work``, whose CPU seconds are left out wherever ``which`` says so of its arguments."""

        def timed(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - any function's
            """Do the work."""
            started_s = time.process_time()
            result = work(*arguments, **named)
            if which(*arguments, **named):
                self.cpu_s += time.process_time() - started_s
            return result

        return timed


def train(arguments: argparse.Namespace) -> dict[str, float]:
    """Train, and return the figures of the steps after the first ones."""
    from datasets import load_dataset
    from transformers import TrainerCallback
    from trl import DistillationConfig, DistillationTrainer

    ends_s: list[float] = []
    update_cpu_s: list[float] = []
    left = Left()

    class Clock(TrainerCallback):
        """Notes when each step ended, and what it took beside what is left out."""

        def on_step_begin(self, *_: object, **__: object) -> None:
            self._begun_cpu_s, left.cpu_s = time.process_time(), 0.0

        def on_step_end(self, *_: object, **__: object) -> None:
            ends_s.append(time.perf_counter())
            update_cpu_s.append(time.process_time() - self._begun_cpu_s - left.cpu_s)

    trainer = DistillationTrainer(
        model=arguments.student,
        teacher_model=arguments.teacher,
        args=DistillationConfig(
            output_dir="trl",
            max_steps=arguments.num_steps,
            per_device_train_batch_size=BATCH,
            max_completion_length=arguments.completion_tokens,
            beta=0.0,
            temperature=1.0,
            top_k=0,
            learning_rate=1e-5,
            model_init_kwargs={"dtype": "float32"},
            teacher_model_init_kwargs={"dtype": "float32"},
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=load_dataset(
            "json", data_files=arguments.data, split="train", cache_dir="datasets"
        ).select_columns("prompt"),
        callbacks=[Clock()],
    )
    trainer._prepare_inputs = left.out(trainer._prepare_inputs, lambda *_, **__: True)
    teacher = trainer.teacher_model
    trainer._get_last_hidden_state = left.out(
        trainer._get_last_hidden_state, lambda model, *_, **__: model is teacher
    )
    trainer.train()
    lengths = [log["completions/mean_length"] for log in trainer.state.log_history if "loss" in log]
    first = arguments.warm_up_steps
    return {
        "tokens_per_s": float(BATCH * sum(lengths[first:]) / (ends_s[-1] - ends_s[first - 1])),
        "update_cpu_s": median(update_cpu_s[first:]),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
