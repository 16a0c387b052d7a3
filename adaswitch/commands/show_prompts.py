"""``adaswitch inspect --prompts``: a run's first prompts, as text and in tokens, before anything is started."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedTokenizerBase

from adaswitch.config.run import RunConfig, check_rules
from adaswitch.data.chat import template_notes
from adaswitch.data.datasets import load_examples
from adaswitch.data.lengths import fit_prompts
from adaswitch.data.models import load_tokenizer
from adaswitch.data.preflight import training_limits
from adaswitch.errors import UserError
from adaswitch.runs.config_files import load_config
from adaswitch.runs.day import with_day_of_run
from adaswitch.tasks.base import Example, RecordTask, Task

SPECIAL_STYLE = "bold magenta"
ID_STYLE = "dim"


def show_prompts(path: Path, overrides: Sequence[str], num: int, console: Console) -> None:
    """Print the first ``num`` training prompts of the config at ``path``, or of the run directory at ``path``.

    Raises ``UserError`` for settings, data or a tokenizer that cannot be used. A prompt that the run would refuse or
    leave out is shown with the reason.
    """
    config = with_day_of_run(load_config(path / "config.yaml" if path.is_dir() else path, overrides))
    check_rules(config)
    task, tokenizer = config.task.ready(), load_tokenizer(config.student.model)
    examples = first_examples(task, num)
    console.print(_heading(config, task, len(examples)), soft_wrap=False)
    for example in examples:
        console.print(_panel(config, task, tokenizer, example))
    for note in template_notes(tokenizer, task, examples):
        console.print(f"note: {note}", highlight=False, markup=False)


def first_examples(task: Task, num: int) -> list[Example]:
    """The first ``num`` training examples. Of files and data sets, no more records than these are read."""
    if isinstance(task, RecordTask):
        limit = num if task.train.limit is None else min(num, task.train.limit)
        task = task.model_copy(update={"train": task.train.model_copy(update={"limit": limit})})
    return load_examples(task, "train")[:num]


def _heading(config: RunConfig, task: Task, num: int) -> Text:
    words = f"the first {num} training prompts of {config.name}, in the tokens of {config.student.model}; "
    if not task.wraps_prompts:
        return Text(words + "plain text, without a chat template")
    day = "" if task.chat.date is None else f", on {task.chat.date.isoformat()}"
    return Text(f"{words}with the chat template{day}")


def _panel(config: RunConfig, task: Task, tokenizer: PreTrainedTokenizerBase, example: Example) -> Panel:
    """One prompt: its text with the special tokens in it, and each of its tokens with its id."""
    try:
        fitted = fit_prompts(
            tokenizer, _naming_all(task), [example], training_limits(config), config.student.max_new_tokens
        )
    except UserError as error:
        return Panel(Text(str(error)), title=example.place, title_align="left", border_style="red")
    [prompt] = fitted.prompts
    special = set(tokenizer.all_special_ids)
    text, tokens = Text(), Text()
    for token in prompt:
        style = SPECIAL_STYLE if token in special else ""
        written = repr(str(tokenizer.decode([token], skip_special_tokens=False)))
        tokens.append(f"{token}:", style=ID_STYLE)
        # A space inside of a token is shown as a sign, so that lines break between tokens alone.
        tokens.append(written.replace(" ", "\u2423"), style=style)
        tokens.append(" ")
    text.append(str(tokenizer.decode(list(prompt), skip_special_tokens=False)))
    text.highlight_words([str(tokenizer.decode([token])) for token in special], SPECIAL_STYLE)
    body = Table.grid(padding=(1, 0))
    body.add_row(text)
    body.add_row(tokens)
    cut = " · cut" if fitted.num_cut else ""
    title = Text(f"{example.place} · {len(prompt)} tokens{cut}")
    return Panel(body, title=title, title_align="left", border_style="dim")


def _naming_all(task: Task) -> Task:
    """``task``, which names a prompt that is too long instead of leaving it out."""
    skips = isinstance(task, RecordTask) and task.too_long == "skip"
    return task.model_copy(update={"too_long": "refuse"}) if skips else task
