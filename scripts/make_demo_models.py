"""Makes the demo's teacher and student: tiny Llama models that do chain arithmetic, character by character.

Both are trained on reference answers: the teacher until it makes no mistake, the student for a few hundred steps
only, so that distillation has something left to teach the student. The program takes minutes on one core.

Example:

    python scripts/make_demo_models.py --out models
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    from adaswitch.tasks.base import Example

SYMBOLS = ["<pad>", "<bos>", "<eos>", *"0123456789+-*=;#"]
MAX_TOKENS = 128
BATCH_SIZE = 48
HEAD_DIM = 32  # the smallest head size that vLLM's attention on CPU takes


@dataclass(frozen=True)
class Recipe:
    """One model's size and training."""

    folder: str
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_steps: int
    learning_rate: float


TEACHER = Recipe("chain-teacher", 96, 256, 3, 3, num_steps=1000, learning_rate=3e-3)
STUDENT = Recipe("chain-student", 48, 128, 2, 2, num_steps=260, learning_rate=4e-3)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=Path("models"), help="folder for both models (default: models)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the weights and the training prompts (default: 0)"
    )
    return parser.parse_args()


def build_tokenizer() -> "PreTrainedTokenizerFast":
    """A tokenizer with one token for each character, which puts BOS in front and decodes without spaces."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {symbol: i for i, symbol in enumerate(SYMBOLS)}
    # There is no unknown token, so that a character outside of the vocabulary is an error and not a silent gap.
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        model_max_length=MAX_TOKENS,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def model_config(recipe: Recipe) -> "LlamaConfig":
    """The architecture of ``recipe``."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(SYMBOLS),
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.num_layers,
        num_attention_heads=recipe.num_heads,
        num_key_value_heads=recipe.num_heads,
        head_dim=HEAD_DIM,
        max_position_embeddings=MAX_TOKENS,
        tie_word_embeddings=True,
        # Models this narrow and texts this short learn the task only with wider weights and faster rotations
        # than the usual 0.02 and 10,000.
        initializer_range=0.08,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        pad_token_id=SYMBOLS.index("<pad>"),
        bos_token_id=SYMBOLS.index("<bos>"),
        eos_token_id=SYMBOLS.index("<eos>"),
    )


def make(recipe: Recipe, out: Path, seed: int, held_out: "list[Example]") -> float:
    """Train and save one model. Returns its greedy exact match on ``held_out``, which it is not trained on."""
    import torch
    from transformers import LlamaForCausalLM

    from adaswitch.tasks.chain import ChainTask, chain_examples
    from scripts import sft

    tokenizer, task = build_tokenizer(), ChainTask()
    torch.manual_seed(seed)
    model = LlamaForCausalLM(model_config(recipe))
    examples = chain_examples(
        recipe.num_steps * BATCH_SIZE,
        (seed, 2),
        task.min_operations,
        task.max_operations,
        exclude={example.prompt for example in held_out},
    )
    batches = (
        sft.make_batch(tokenizer, task, examples[i : i + BATCH_SIZE], MAX_TOKENS)
        for i in range(0, len(examples), BATCH_SIZE)
    )
    sft.train(
        model,
        batches,
        lambda batch: sft.cross_entropy(model, batch),
        num_steps=recipe.num_steps,
        learning_rate=recipe.learning_rate,
        schedule="cosine",
        title=recipe.folder,
    )
    model.save_pretrained(out / recipe.folder)
    tokenizer.save_pretrained(out / recipe.folder)
    return sft.held_out_score(model, tokenizer, task, held_out, max_new_tokens=64)


def main() -> None:
    """Make both models, and print how good they are."""
    arguments = parse_arguments()

    import torch
    from transformers.utils import logging

    from adaswitch.data.datasets import load_examples
    from adaswitch.tasks.chain import ChainTask

    logging.disable_progress_bar()
    torch.set_num_threads(1)  # more threads would sum in another order, and give other weights
    held_out = load_examples(ChainTask(), "eval")
    for recipe in (TEACHER, STUDENT):
        start = time.perf_counter()
        score = make(recipe, arguments.out, arguments.seed, held_out)
        seconds = time.perf_counter() - start
        folder = arguments.out / recipe.folder
        print(f"{folder}: exact match {score:.3f} on n = {len(held_out)} held-out prompts, {seconds:.0f} s")


if __name__ == "__main__":
    main()
