"""What can be known to be wrong with a run before anything is trained: its data, its models' lengths."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from adaswitch.config import RunConfig
from adaswitch.io.datasets import check_chain_budget, encode_prompt, eval_examples, load_examples
from adaswitch.io.models import check_lengths, load_tokenizer, max_positions
from adaswitch.tasks import Example, Task, make_task


@dataclass(frozen=True)
class RunData:
    """A run's task and data, read, put into tokens and found to fit."""

    task: Task
    tokenizer: PreTrainedTokenizerBase
    train_prompts: list[tuple[int, ...]]
    eval_examples: list[Example]
    eval_prompts: list[tuple[int, ...]]


def load_run_data(config: RunConfig) -> RunData:
    """The data of ``config``. Raises ``UserError`` for a model, a file, a record or a length that does not fit."""
    tokenizer = load_tokenizer(config.student.model)
    task = make_task(config.task)
    train = [
        tuple(encode_prompt(tokenizer, task, example)) for example in load_examples(config.task, "train")
    ]
    examples = _eval_examples(config)
    held_out = [tuple(encode_prompt(tokenizer, task, example)) for example in examples]
    budget, longest = config.student.max_new_tokens, max_positions(config.student.model)
    check_lengths(train, budget, longest, "the student")
    check_lengths(held_out, budget, longest, "the student")
    serve = config.teacher.serve
    if serve is not None and serve.max_model_len is not None:
        check_lengths(train, budget, serve.max_model_len, "the teacher (teacher.serve.max_model_len)")
    return RunData(task, tokenizer, train, examples, held_out)


def _eval_examples(config: RunConfig) -> list[Example]:
    if config.trainer.eval_every == 0:
        return []
    check_chain_budget(config.task, config.student.max_new_tokens)
    return eval_examples(config.task, config.trainer.eval_prompts)
