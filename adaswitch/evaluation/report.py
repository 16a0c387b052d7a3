"""The output of ``adaswitch eval``: a table, ``results.json`` and ``completions.jsonl``."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table

from adaswitch.errors import EnvironmentProblem
from adaswitch.evaluation.divergence import MeanDivergence
from adaswitch.evaluation.evaluation import Completion, Evaluation
from adaswitch.evaluation.request import EvalRequest
from adaswitch.storage import write_atomically
from adaswitch.tasks.scores import Interval

RESULTS, COMPLETIONS = "results.json", "completions.jsonl"
OWN, REFERENCES = "completions", "references"
MAX_UNMARKED_LINES = 10


@dataclass(frozen=True)
class Report:
    """All results of one call of the command."""

    request: EvalRequest
    evaluation: Evaluation
    divergences: Mapping[str, Sequence[MeanDivergence]]
    """The divergences by the texts that they were taken over: ``OWN``, the model's completions, and ``REFERENCES``."""
    seconds: float
    notes: Sequence[str] = ()
    """Lines about the prompts, such as how many were left out."""


def prepare_output(folder: Path) -> None:
    """Make ``folder``. Raises ``EnvironmentProblem`` if it cannot be made, or has results already."""
    if (folder / RESULTS).exists():
        raise EnvironmentProblem(f"--output: {folder} already holds {RESULTS}: name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise EnvironmentProblem(f"--output: cannot write to {folder}: {error.strerror}") from None


def write_report(folder: Path, report: Report) -> None:
    """Write both files into ``folder``. The results are written last, so a folder with results is complete."""
    own = report.divergences.get(OWN, ())
    lines = [
        json.dumps(_row(done, {mean.metric: mean.totals[i] for mean in own}), ensure_ascii=False)
        for i, done in enumerate(report.evaluation.completions)
    ]
    write_atomically(folder / COMPLETIONS, "".join(line + "\n" for line in lines).encode())
    text = json.dumps(_results(report), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / RESULTS, f"{text}\n".encode())


def _row(done: Completion, nats: Mapping[str, float]) -> dict[str, object]:
    """The row of a completion in ``completions.jsonl``. ``nats`` are sums over the completion's tokens."""
    return {
        "record": done.example.number,
        "split": done.example.split,
        "sample": done.sample,
        "prompt": done.example.prompt,
        **({"messages": [dict(turn) for turn in done.example.messages]} if done.example.messages else {}),
        "completion": done.text,
        "references": list(done.example.all_references),
        "marks": done.marks if done.marks is None else dict(done.marks),
        "unmarked_because": done.cause,
        "tokens": len(done.token_ids),
        "nats": nats,
        "stopped": done.stopped,
    }


def _results(report: Report) -> dict[str, object]:
    request, completions = report.request, report.evaluation.completions
    return {
        "model": request.model,
        "teacher": request.teacher,
        "task": request.task.model_dump(mode="json"),
        "prompts": len({(done.example.split, done.example.number) for done in completions}),
        "num_samples": request.num_samples,
        "temperature": request.temperature,
        "seed": request.seed,
        "max_new_tokens": request.max_new_tokens,
        "dtype": request.dtype,
        "scores": [asdict(score) for score in report.evaluation.scores],
        "divergences": [
            {"over": over, **{key: value for key, value in asdict(mean).items() if key != "totals"}}
            for over, means in report.divergences.items()
            for mean in means
        ],
        "mean_tokens": fmean(len(done.token_ids) for done in completions),
        "cut_off": sum(not done.stopped for done in completions),
        "unmarked": [
            {
                "record": done.example.number,
                "split": done.example.split,
                "sample": done.sample,
                "cause": done.cause,
            }
            for done in completions
            if done.cause is not None
        ],
        "notes": list(report.notes),
        "seconds": report.seconds,
    }


def print_report(report: Report, console: Console) -> None:
    """Print the figures for people."""
    request, completions = report.request, report.evaluation.completions
    how = "greedy" if request.temperature == 0 else f"temperature {request.temperature:g}"
    console.print(f"{request.model} on {report.evaluation.task}, {how}", highlight=False, soft_wrap=True)
    console.print(_scores(report.evaluation, request.num_samples))
    if report.divergences:
        console.print(_divergences(report.divergences))
    cut_off = sum(not done.stopped for done in completions)
    console.print(
        f"{fmean(len(done.token_ids) for done in completions):.1f} tokens a completion, {cut_off} of "
        f"{len(completions)} cut off after {request.max_new_tokens}; {report.seconds:.1f} s",
        highlight=False,
    )
    console.print(f"intervals: {', '.join(_methods(report)) or 'none'}", highlight=False)
    for note in (*report.notes, *report.evaluation.hints):
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    for line in report.evaluation.unmarked_lines(MAX_UNMARKED_LINES):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _scores(evaluation: Evaluation, num_samples: int) -> Table:
    table = _table("split", "metric", "value", "95 % interval", "prompts", "unmarked")
    for score in evaluation.scores:
        name = score.metric if num_samples == 1 else f"{score.metric}, mean of {num_samples}"
        table.add_row(
            score.split,
            name,
            "-" if score.value is None else f"{score.value:.1%}",
            _interval(score.interval, ".1%"),
            str(score.n),
            str(score.unmarked),
        )
    return table


def _divergences(divergences: Mapping[str, Sequence[MeanDivergence]]) -> Table:
    table = _table("over", "divergence", "nats a token", "95 % interval", "prompts", "tokens")
    for over, means in divergences.items():
        for mean in means:
            interval = _interval(mean.interval, ".4f")
            table.add_row(over, mean.metric, f"{mean.value:.4f}", interval, str(mean.n), str(mean.num_tokens))
    return table


def _methods(report: Report) -> list[str]:
    """The names of the methods that computed the intervals, each once."""
    scores = [score.interval for score in report.evaluation.scores]
    divergences = [mean.interval for means in report.divergences.values() for mean in means]
    methods = [interval.method for interval in (*scores, *divergences) if interval is not None]
    return list(dict.fromkeys(methods))


def _interval(interval: Interval | None, form: str) -> str:
    if interval is None:
        return "-"
    return f"{interval.low:{form}} to {interval.high:{form}}"


def _table(*headers: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold cyan")
    for i, header in enumerate(headers):
        table.add_column(header, justify="left" if i < 2 else "right", overflow="fold")
    return table
