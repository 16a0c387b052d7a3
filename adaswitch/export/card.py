"""The model card of a trained student, made from its run: what it is, how it was made, and how good it is.

The card is Markdown with a head in YAML, as the Hugging Face hub reads it. What nobody but its owner can know, which is
the licences, is left to be filled in.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from safetensors import safe_open

from adaswitch.config.base import Settings
from adaswitch.config.run import RunConfig
from adaswitch.errors import DataError
from adaswitch.export.card_settings import shown_path, shown_settings
from adaswitch.export.results import Result, results_of
from adaswitch.method.policies.replay import Replay
from adaswitch.method.policies.sft import SFT
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.figures import FIGURES
from adaswitch.runs.summary import TOKEN_NAMES, Summary, summarise
from adaswitch.tasks.base import DataSource, RecordTask
from adaswitch.tasks.custom import CustomTask
from adaswitch.version import __version__

FILL_IN = "**to be filled in**"
ADAPTER = "adapter"
"""The folder of the adapters, in a model that was trained with them."""
DISTILLED = (
    "A student model that was distilled from a larger teacher: the student wrote, the teacher scored what it wrote and "
    "wrote on where the policy says so, and the student learnt from both."
)
FINE_TUNED = "A model that was fine-tuned on the data set's own answers, by cross entropy alone."
Read = TypeVar("Read")


def model_card(run: RunDirectory, config: RunConfig, step: int, folder: Path) -> str:
    """The card of the model in ``folder``, which is that of ``run`` after ``step`` updates."""
    results, marks_problem = _readable(lambda: results_of(run, step), list[Result]())
    summary, figures_problem = _readable(lambda: summarise(run, step), None)
    parts = [
        _head(config, results),
        f"# {config.name}\n",
        _what_it_is(config, step, folder),
        _result_table(results, marks_problem),
        _figures(config, summary, figures_problem),
        _how_to_use(config),
        _licence(config),
        _how_it_was_made(run, config),
    ]
    return "\n".join(part for part in parts if part)


def _readable(read: Callable[[], Read], without: Read) -> tuple[Read, str]:
    """What ``read`` gives, and no problem; of records that are damaged ``without``, and what is wrong with them."""
    try:
        return read(), ""
    except DataError as error:
        return without, f"The run's records could not be read: {error}"


def _head(config: RunConfig, results: Sequence[Result]) -> str:
    head: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": "unknown",
        "tags": list(dict.fromkeys((_kind_of_training(config), "adaswitch", _rule(config.policy)))),
    }
    if _is_of_hub(config.student.model):
        head |= {"base_model": config.student.model, "base_model_relation": "finetune"}
    if datasets := [source.hub for source in _sources(config) if source.hub is not None]:
        head["datasets"] = sorted(set(datasets))
    if metrics := [_metric(result) for result in results if result.after.value is not None]:
        task = {"type": "text-generation", "name": _rule(config.task)}
        dataset = {"type": _rule(config.task), "name": _rule(config.task)}
        entry = {"task": task, "dataset": dataset, "metrics": metrics}
        head["model-index"] = [{"name": config.name, "results": [entry]}]
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n"


def _kind_of_training(config: RunConfig) -> str:
    """The tag by which the hub knows models that were trained so."""
    return "sft" if isinstance(config.policy, SFT) else "knowledge-distillation"


def _rule(settings: Settings) -> str:
    """The name of a policy, a loss or a task. Of a user's own it is the import path: its code need not be here."""
    kind = str(getattr(settings, "kind", type(settings).__name__))
    return str(getattr(settings, "path", kind)) if kind == "custom" else kind


def _metric(result: Result) -> dict[str, Any]:
    return {"type": result.metric, "name": result.name, "value": result.after.value}


def _is_of_hub(model: str) -> bool:
    return model.count("/") == 1 and not os.path.isdir(model) and not model.startswith((".", "/", "~"))


def _sources(config: RunConfig) -> list[DataSource]:
    task = config.task
    if not isinstance(task, RecordTask):
        return []
    return [source for source in (task.train, task.eval) if source is not None]


def _what_it_is(config: RunConfig, step: int, folder: Path) -> str:
    trainer = config.trainer
    rows = [
        ("trained from", shown_path(config.student.model)),
        *([] if isinstance(config.policy, SFT) else [("teacher", _teacher(config))]),
        ("data", _data(config)),
        ("method", f"policy `{_rule(config.policy)}`, loss `{_rule(trainer.loss)}`"),
        ("updates", f"{step}, of {trainer.prompts_per_step} rollouts each"),
        ("longest answer", f"{config.student.max_new_tokens} tokens"),
        ("weights", _weights(folder)),
    ]
    if (folder / ADAPTER).is_dir():
        rows.append(
            (
                "adapters",
                f"trained alone, and merged into the weights; by themselves they are in `{ADAPTER}/`",
            )
        )
    table = "\n".join(f"| {name} | {_cell(text)} |" for name, text in rows)
    how = FINE_TUNED if isinstance(config.policy, SFT) else DISTILLED
    return f"{how}\n\n| | |\n|---|---|\n{table}\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _teacher(config: RunConfig) -> str:
    if isinstance(config.policy, Replay):
        return f"the one of the run that is replayed, {shown_path(config.policy.run)}"
    if config.teacher.serve is not None:
        return shown_path(config.teacher.serve.model)
    if config.teacher.model is not None:
        return shown_path(config.teacher.model)
    return f"{FILL_IN} (a service elsewhere, whose model the settings do not name)"


def _data(config: RunConfig) -> str:
    return ", ".join([f"task `{_rule(config.task)}`", *dict.fromkeys(map(_source, _sources(config)))])


def _source(source: DataSource) -> str:
    if source.hub is not None:
        return f"{source.hub} {source.subset or ''}".rstrip() + f" ({source.split})"
    paths = [source.path] if isinstance(source.path, str) else source.path or []
    return ", ".join(map(shown_path, paths))


def _weights(folder: Path) -> str:
    """The number of weights and their number types, as the files' heads say."""
    count, types = 0, set[str]()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                part = file.get_slice(name)
                size = 1
                for length in part.get_shape():
                    size *= length
                count, types = count + size, types | {str(part.get_dtype())}
    if not count:
        return FILL_IN
    return f"{count:,} in {', '.join(sorted(types))}"


def _result_table(results: Sequence[Result], problem: str) -> str:
    if not results:
        return f"## Results\n\n{problem or 'The run was not evaluated.'}\n"
    last = results[0].after.step
    lines = [
        "## Results\n",
        f"Held-out prompts, answered greedily, before the training and after {last} updates. In brackets are 95 % "
        "intervals over prompts.\n",
        "| metric | prompts | before | after |",
        "|---|---|---|---|",
    ]
    for result in results:
        before = "-" if result.before is None else result.before.words
        lines.append(f"| {_cell(result.name)} | {result.n} | {before} | {result.after.words} |")
    return "\n".join(lines) + "\n"


def _figures(config: RunConfig, summary: Summary | None, problem: str) -> str:
    if summary is None:
        return problem and f"## What it learnt from\n\n{problem}\n"
    rows: list[str] = []
    if not isinstance(config.policy, SFT):
        rows += [f"| {TOKEN_NAMES[name].strip()} | {number:,} |" for name, number in summary.tokens.items()]
        first, last = summary.switch_rate
        rows.append(
            f"| {FIGURES['switch_rate'].words}, first and last tenth of the steps | {first:.0%}, {last:.0%} |"
        )
    what = "tokens of all" if rows else "all"
    rows += [
        f"| {FIGURES['loss'].label}, first and last tenth | {summary.loss[0]:.3f}, {summary.loss[1]:.3f} |",
        f"| seconds of training | {sum(summary.seconds.values()):,.0f} |",
    ]
    return (
        f"## What it learnt from\n\n| {what} {summary.num_steps} steps | |\n|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


def _how_to_use(config: RunConfig) -> str:
    lines = [
        "## How to use it\n",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n",
        'model, tokenizer = (kind.from_pretrained("FOLDER") for kind in (AutoModelForCausalLM, AutoTokenizer))',
        "```\n",
        "or `adaswitch chat FOLDER`.",
    ]
    if not isinstance(config.task, CustomTask) and not config.task.wraps_prompts:
        lines.append("Its prompts were plain text: it was not trained in a chat template.")
    return "\n".join(lines) + "\n"


def _licence(config: RunConfig) -> str:
    lines = [
        "## Licence\n",
        f"- of this model: {FILL_IN}, here and as `license` in the head of this file",
        f"- of the model that it was trained from ({shown_path(config.student.model)}): {FILL_IN}",
        f"- of the teacher, and whether others may be trained on what it writes: {FILL_IN}",
        f"- of the data: {FILL_IN}\n",
    ]
    if isinstance(config.policy, SFT):
        del lines[3]
    return "\n".join(lines)


def _how_it_was_made(run: RunDirectory, config: RunConfig) -> str:
    """The version and the settings, with which the run can be done again."""
    settings = yaml.safe_dump(shown_settings(config), sort_keys=False, allow_unicode=True)
    lines = [
        "## How it was made\n",
        f"With AdaSwitch {__version__}, by `adaswitch run --config FILE`, where FILE holds these settings; all others "
        "were at their defaults. Addresses are left out, and of absolute paths all but the last part.\n",
        f"```yaml\n{settings}```\n",
    ]
    if inputs := list(_inputs(run)):
        lines += ["What the run computed with:\n", *inputs, ""]
    return "\n".join(lines)


def _inputs(run: RunDirectory) -> Iterator[str]:
    """The fingerprints that the run keeps of its data and models; none of a run of an older version."""
    if not run.inputs.is_file():
        return
    try:
        document = json.loads(run.inputs.read_bytes())
    except ValueError:
        raise DataError("the file is damaged: remove it", source=str(run.inputs)) from None
    for name, fingerprint in document.items():
        yield f"- {name}: {fingerprint}"
