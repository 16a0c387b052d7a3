"""Trains with TRL's DistillationTrainer, in TRL's own environment, and prints the completion tokens a second.

The last line of standard output is a JSON object with ``tokens_per_s``. The divergence is TRL's own over the whole
vocabulary. Float32 on CPU, all cores, and no gradient checkpointing, which would only cost time here.

Example:

    .trl/bin/python bench/methods/trl_program.py STUDENT TEACHER prompts.jsonl 128 10 2
"""

import argparse
import json
import time

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
    print(json.dumps({"tokens_per_s": train(parser.parse_args())}), flush=True)


def train(arguments: argparse.Namespace) -> float:
    """Train, and return the completion tokens a second of the steps after the first ones."""
    from datasets import load_dataset
    from transformers import TrainerCallback
    from trl import DistillationConfig, DistillationTrainer

    ends_s: list[float] = []

    class Clock(TrainerCallback):
        """Notes when each step ended."""

        def on_step_end(self, *_: object, **__: object) -> None:
            ends_s.append(time.perf_counter())

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
    trainer.train()
    lengths = [log["completions/mean_length"] for log in trainer.state.log_history if "loss" in log]
    first = arguments.warm_up_steps
    return float(BATCH * sum(lengths[first:]) / (ends_s[-1] - ends_s[first - 1]))


if __name__ == "__main__":
    main()
