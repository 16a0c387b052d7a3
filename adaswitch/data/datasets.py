"""The examples of a task, from files, the Hugging Face hub or a generator, and their token ids."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from adaswitch.data.chat import ChatTokenizer, render_chat
from adaswitch.data.json_lines import Record
from adaswitch.data.record_files import find_files, read_file
from adaswitch.errors import DataError, EnvironmentProblem, ModelError
from adaswitch.tasks.base import DataSource, Example, GeneratedTask, RecordTask, Split, Task
from adaswitch.tasks.scores import MAIN_SPLIT


class Tokenizer(ChatTokenizer, Protocol):
    """The part of a Hugging Face tokenizer that is needed here."""

    @property
    def eos_token_id(self) -> int | None:
        """The id of the token that ends a completion, if there is one."""
        ...

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """The token ids of ``text``, with or without the tokenizer's own special tokens around them."""
        ...


def load_examples(settings: Task, split: Split) -> list[Example]:
    """The examples of a task's split, in the data's own order.

    Without an ``eval`` source a task has no held-out examples, and the list is empty. Raises ``DataError`` or
    ``EnvironmentProblem`` as ``load_records`` does. Also raises ``DataError`` with the line for a record that cannot
    be used, and for a held-out record that comes from another data set than the held-out records before it.
    """
    task = settings.ready()
    if isinstance(task, GeneratedTask):
        return task.examples(split)
    assert isinstance(task, RecordTask)  # a task that is not a GeneratedTask is a RecordTask
    source = task.train if split == "train" else task.eval
    if source is None:
        return []
    examples = list(_examples(task, source))
    if split == "eval":
        _refuse_mixture(examples)
    return examples


def _examples(task: RecordTask, source: DataSource) -> Iterator[Example]:
    """The examples of all files of ``source``, numbered through, so that no two of them have the same number."""
    before, num_read = 0, 0
    for part in parts_of(source):
        if source.limit is not None and num_read == source.limit:
            return
        limit = None if source.limit is None else source.limit - num_read
        records = load_records(part.model_copy(update={"limit": limit}))
        for number, record in records:
            example = task.example(record, number, source_name(part))
            yield (
                replace(example, number=before + example.number, line=example.line_number)
                if before
                else example
            )
        before, num_read = before + records[-1][0], num_read + len(records)


def parts_of(source: DataSource) -> list[DataSource]:
    """A source for each file of ``source``; a data set of the hub is one. Raises ``DataError`` as ``find_files``."""
    if source.path is None:
        return [source]
    return [source.model_copy(update={"path": path}) for path in find_files(source.path)]


def _refuse_mixture(examples: Sequence[Example]) -> None:
    """Raises ``DataError`` if only some held-out examples have a split of their own.

    In that case no score would stand for the whole.
    """
    first = examples[0]
    for example in examples:
        if (example.split == MAIN_SPLIT) != (first.split == MAIN_SPLIT):
            raise DataError(
                f"held-out records must be all of one data set: this one is reported under {example.split!r}, "
                f"that of line {first.line_number} under {first.split!r}: make a file of each",
                source=example.source,
                line=example.line_number,
            )


def eval_examples(settings: Task, limit: int) -> list[Example]:
    """The first ``limit`` held-out examples; for a generated task the first ``limit`` of each split."""
    examples = load_examples(settings, "eval")
    if isinstance(settings.ready(), GeneratedTask):
        return [example for example in examples if example.number <= limit]
    return examples[:limit]


def source_name(source: DataSource) -> str:
    """The name of ``source`` in messages: its path or paths, or ``hub:NAME``."""
    if source.path is None:
        return f"hub:{source.hub}"
    return source.path if isinstance(source.path, str) else ", ".join(source.path)


def load_records(source: DataSource) -> list[tuple[int, Record]]:
    """At most ``source.limit`` records of one file or data set, with their numbers counted from 1 (see ``read_file``).

    Raises ``DataError`` if the source cannot be read, and ``EnvironmentProblem`` if the package for the hub is
    missing.
    """
    if isinstance(source.path, str):
        return read_file(Path(source.path), source.limit)
    return _read_hub(source)


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
    except Exception as error:  # The loaders pass on all errors of readers and network.
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
    """The token ids to which a completion of ``example`` is appended.

    If the task wraps its prompts, the prompt is the user's message, followed by the start of the assistant's turn.
    Otherwise the prompt is plain text with the tokenizer's own special tokens in front, such as a BOS. Raises
    ``ModelError`` if a chat template is needed and missing, or if the vocabulary cannot spell the prompt, and
    ``DataError`` for a prompt without any token.
    """
    if task.wraps_prompts:
        # The template writes the special tokens itself. The text is encoded without special tokens, so that none is
        # added twice.
        text = render_chat(tokenizer, task, example)
        token_ids = _encoded(tokenizer, text, example, add_special_tokens=False)
    else:
        token_ids = _without_added_end(tokenizer, example)
    if not token_ids:
        raise DataError(
            "the prompt comes to no token at all, as the tokenizer or the chat template drops its text: change it, or "
            "leave the record out",
            source=example.place,
        )
    return token_ids


def _without_added_end(tokenizer: Tokenizer, example: Example) -> list[int]:
    """The plain prompt of ``example``. An end of sequence that the tokenizer adds is left out: nothing follows it."""
    token_ids = _encoded(tokenizer, example.prompt, example, add_special_tokens=True)
    if not token_ids or token_ids[-1] != tokenizer.eos_token_id:
        return token_ids
    text = _encoded(tokenizer, example.prompt, example, add_special_tokens=False)
    places = range(len(text), len(token_ids) + 1)
    return next((token_ids[:end] for end in places if token_ids[end - len(text) : end] == text), token_ids)


def encode_reference(tokenizer: Tokenizer, example: Example, end_token_id: int | None = None) -> list[int]:
    """The token ids of the data set's own completion, followed by ``end_token_id``.

    By default that is the tokenizer's end-of-sequence token. Raises ``DataError`` for an empty completion, and
    ``ModelError`` if there is no such token or the vocabulary cannot spell the text.
    """
    if not example.reference.strip():
        raise DataError("the reference is empty: fill it in, or leave the record out", source=example.place)
    end = tokenizer.eos_token_id if end_token_id is None else end_token_id
    if end is None:
        raise ModelError("the tokenizer has no end-of-sequence token: set eos_token in its folder")
    token_ids = _encoded(tokenizer, example.reference, example, add_special_tokens=False)
    return [*token_ids, end]


def _encoded(tokenizer: Tokenizer, text: str, example: Example, *, add_special_tokens: bool) -> list[int]:
    try:
        return tokenizer.encode(text, add_special_tokens=add_special_tokens)
    except Exception as error:  # A vocabulary without an unknown token raises a plain Exception.
        raise ModelError(f"{example.place}: the tokenizer cannot spell {text[:40]!r}: {error}") from None
