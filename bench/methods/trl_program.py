"""Trains with TRL's DistillationTrainer, in TRL's own environment, and prints the completion tokens a second.

The last line of standard output is a JSON object with ``tokens_per_s``. The divergence is TRL's own over the whole
vocabulary. Float32 on CPU, all cores, and no gradient checkpointing, which would only cost time here.

Example:

    .trl/bin/python bench/methods/trl_program.py STUDENT TEACHER prompts.jsonl 128 10 2
"""

import json
import sys
import time

from datasets import load_dataset
from transformers import TrainerCallback
from trl import DistillationConfig, DistillationTrainer

BATCH = 16


class Clock(TrainerCallback):
    """The seconds and the completion tokens of each step."""

    def __init__(self) -> None:
        self.ends_s: list[float] = []

    def on_step_end(self, *arguments: object, **named: object) -> None:
        """Note when the step ended."""
        self.ends_s.append(time.perf_counter())


def main() -> None:
    """Train, and print the result."""
    student, teacher, data = sys.argv[1:4]
    completion_tokens, num_steps, warm_up = (int(text) for text in sys.argv[4:7])
    clock = Clock()
    trainer = DistillationTrainer(
        model=student,
        teacher_model=teacher,
        args=DistillationConfig(
            output_dir="trl",
            max_steps=num_steps,
            per_device_train_batch_size=BATCH,
            max_completion_length=completion_tokens,
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
        train_dataset=load_dataset("json", data_files=data, split="train", cache_dir="datasets"),
        callbacks=[clock],
    )
    trainer.train()
    lengths = [log["completions/mean_length"] for log in trainer.state.log_history if "loss" in log]
    num_tokens = BATCH * sum(lengths[warm_up:])
    seconds = clock.ends_s[-1] - clock.ends_s[warm_up - 1]
    print(json.dumps({"tokens_per_s": num_tokens / seconds}), flush=True)


if __name__ == "__main__":
    main()
