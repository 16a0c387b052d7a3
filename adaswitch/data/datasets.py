"""Examples of a task, from JSON-lines files, the Hugging Face hub or a generator; and their token ids."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from adaswitch.config import ChainTaskConfig, DataSource, TaskConfig
from adaswitch.data.json_lines import Record, parse_record
from adaswitch.errors import ConfigError, DataError, EnvironmentProblem, ModelError
from adaswitch.tasks import Example, Task, chain_examples, make_record_task
from adaswitch.tasks.chain import MAX_LONGER, answer_length
from adaswitch.tasks.scores import MAIN_SPLIT

Split = Literal["train", "eval"]


class Tokenizer(Protocol):
    """What is needed of a Hugging Face tokenizer."""

    @property
    def chat_template(self) -> str | dict[str, str] | None:
        """The template that conversations are written by, if there is one."""
        ...

    @property
    def eos_token_id(self) -> int | None:
        """What ends a completion."""
        ...

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Token ids of ``text``, with the tokenizer's own special tokens around them or without."""
        ...

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, add_generation_prompt: bool, tokenize: bool
    ) -> object:
        """``conversation`` as the text that a chat model was trained on."""
        ...


def load_examples(settings: TaskConfig, split: Split) -> list[Example]:
    """The examples of a task's split, in the data's own order.

    For chain arithmetic the held-out prompts depend neither on the number of training prompts nor on the
    training prompts themselves, which are drawn around them; the extra splits follow behind. A task without
    an ``eval`` source has no held-out examples: the list is empty. Raises ``DataError`` or
    ``EnvironmentProblem`` as ``load_records`` does, and ``DataError`` with the line for a record that cannot be
    used, or that is of another data set than the held-out ones before it.
    """
    if isinstance(settings, ChainTaskConfig):
        return _chain_split(settings, split)
    source = settings.train if split == "train" else settings.eval
    if source is None:
        return []
    task = make_record_task(settings)
    name = source_name(source)
    examples = [task.example(record, number, name) for number, record in load_records(source)]
    if split == "eval":
        _refuse_mixture(examples)
    return examples


def _refuse_mixture(examples: Sequence[Example]) -> None:
    """Raises ``DataError`` where some held-out examples are of a kind of their own and some are of none.

    Then no score would stand for the whole.
    """
    first = examples[0]
    for example in examples:
        if (example.split == MAIN_SPLIT) != (first.split == MAIN_SPLIT):
            raise DataError(
                f"held-out records must be all of one data set: this one is reported under {example.split!r}, "
                f"that of line {first.number} under {first.split!r}: make a file of each",
                source=example.source,
                line=example.number,
            )


def eval_examples(settings: TaskConfig, limit: int) -> list[Example]:
    """The first ``limit`` held-out examples; for chain arithmetic as many of each split."""
    examples = load_examples(settings, "eval")
    if not isinstance(settings, ChainTaskConfig):
        return examples[:limit]
    return [example for example in examples if example.number <= limit]


def check_chain_budget(settings: TaskConfig, max_new_tokens: int) -> None:
    """Raises ``ConfigError`` where the answers of the split ``longer`` would be cut off by ``max_new_tokens``."""
    if not isinstance(settings, ChainTaskConfig) or "longer" not in settings.extra_splits:
        return
    longest = settings.max_operations + MAX_LONGER
    if answer_length(longest) > max_new_tokens:
        raise ConfigError(
            f"task.extra_splits: an answer of {longest} operations takes {answer_length(longest)} tokens, more "
            f"than student.max_new_tokens {max_new_tokens}: raise it, or leave out longer"
        )


def _chain_split(settings: ChainTaskConfig, split: Split) -> list[Example]:
    bounds = (settings.min_operations, settings.max_operations)
    held_out = chain_examples(settings.num_eval, (settings.seed, 0), *bounds)
    if "multiply" in settings.extra_splits:
        held_out += chain_examples(
            settings.num_eval,
            (settings.seed, 4),
            *bounds,
            exclude={example.prompt for example in held_out},
            split="multiply",
            mostly_products=True,
        )
    if split == "train":
        prompts = {example.prompt for example in held_out}
        return chain_examples(settings.num_train, (settings.seed, 1), *bounds, exclude=prompts, split="train")
    if "longer" in settings.extra_splits:
        longest = settings.max_operations
        held_out += chain_examples(
            settings.num_eval, (settings.seed, 3), longest + 1, longest + MAX_LONGER, split="longer"
        )
    return held_out


def source_name(source: DataSource) -> str:
    """How messages call ``source``: its path, or ``hub:NAME``."""
    return source.path if source.path is not None else f"hub:{source.hub}"


def load_records(source: DataSource) -> list[tuple[int, Record]]:
    """Records with their numbers counted from 1 (in a file: the line), at most ``source.limit``.

    Raises ``DataError`` for what cannot be read, and ``EnvironmentProblem`` where the package for the hub is
    missing.
    """
    if source.path is not None:
        return read_jsonl(Path(source.path), source.limit)
    return _read_hub(source)


def read_jsonl(path: Path, limit: int | None = None) -> list[tuple[int, Record]]:
    """The objects of a UTF-8 JSON-lines file with their line numbers; blank lines are passed over.

    Nothing is read behind the ``limit``-th record. Raises ``DataError``: for a file that is not there, cannot
    be read or holds no record, and with the line for one that is not a JSON object.
    """
    records: list[tuple[int, Record]] = []
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    records.append((number, parse_record(line, number, str(path))))
                if len(records) == limit:
                    break
    except FileNotFoundError:
        raise DataError("no such file: check the path under task", source=str(path)) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", source=str(path)) from None
    if not records:
        raise DataError("holds no records: one JSON object a line is expected", source=str(path))
    return records


def _read_hub(source: DataSource) -> list[tuple[int, Record]]:
    try:
        import datasets
    except ModuleNotFoundError:
        raise EnvironmentProblem(
            f"{source_name(source)}: data sets of the hub need a package that is not installed: "
            "uv pip install 'adaswitch[hub]'"
        ) from None
    try:
        data = datasets.load_dataset(source.hub, source.subset, split=source.split)
    except Exception as error:  # Its loaders raise whatever their readers and the network do.
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"cannot be loaded from the hub: {reason}: check the name, subset and split, or download it and "
            "set path to the file",
            source=source_name(source),
        ) from None
    num = len(data) if source.limit is None else min(source.limit, len(data))
    if num == 0:
        raise DataError(f"split {source.split} holds no records", source=source_name(source))
    return list(enumerate(map(dict, data.select(range(num))), start=1))


def encode_prompt(tokenizer: Tokenizer, task: Task, example: Example) -> list[int]:
    """Token ids that a completion of ``example`` is appended to.

    With ``task.chat_template`` the prompt is the user's message and the assistant's turn is opened; otherwise
    it is plain text with the tokenizer's own special tokens, as a BOS in front. Raises ``ModelError`` where
    there is no chat template or the vocabulary cannot spell the prompt.
    """
    if not task.chat_template:
        return _encoded(tokenizer, example.prompt, example, add_special_tokens=True)
    if tokenizer.chat_template is None:
        raise ModelError(
            "task.chat_template: the tokenizer has no chat template; set it to false, or use a chat model"
        )
    messages = [{"role": "user", "content": example.prompt}]
    # The template writes the special tokens itself: as text first, so that none is added twice.
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return _encoded(tokenizer, str(text), example, add_special_tokens=False)


def encode_reference(tokenizer: Tokenizer, example: Example) -> list[int]:
    """Token ids of the data set's own completion, with the end-of-sequence token behind them.

    Raises ``DataError`` for an empty completion, and ``ModelError`` where there is no such token or the
    vocabulary cannot spell the text.
    """
    if not example.reference.strip():
        raise DataError("the reference is empty: fill it in, or leave the record out", source=example.place)
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer has no end-of-sequence token: set eos_token in its folder")
    token_ids = _encoded(tokenizer, example.reference, example, add_special_tokens=False)
    return [*token_ids, tokenizer.eos_token_id]


def _encoded(tokenizer: Tokenizer, text: str, example: Example, *, add_special_tokens: bool) -> list[int]:
    try:
        return tokenizer.encode(text, add_special_tokens=add_special_tokens)
    except Exception as error:  # A vocabulary without an unknown token raises no narrower type.
        raise ModelError(f"{example.place}: the tokenizer cannot spell {text[:40]!r}: {error}") from None
