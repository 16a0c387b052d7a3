"""The top of a page: what came out, what it took, whether the switch is healthy, where the run stands."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from adaswitch.config.run import RunConfig
from adaswitch.pages.reading import Problems, complete
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.figures import FIGURES
from adaswitch.runs.intervals import compared, interval_of
from adaswitch.runs.overview import row_of, status_lines
from adaswitch.runs.run_health import examine
from adaswitch.runs.summary import (
    EVAL_FIELDS,
    PHASE_NAMES,
    STEP_FIELDS,
    TOKEN_NAMES,
    Summary,
    eval_rows,
    summary_of,
)

Records = list[dict[str, Any]]
DASH = "-"


def verdict(
    run: RunDirectory, config: RunConfig | None, metrics: Records, evals: Records, problems: Problems
) -> dict[str, object]:
    """What stands at the top of the page of ``run``, in words. ``config`` is None if it cannot be read."""
    row = row_of(run, run.path.parent)
    whole = complete(metrics, STEP_FIELDS, "the figures before and after are", problems)
    marked = complete(evals, EVAL_FIELDS, "the marks are", problems)
    summary = summary_of(whole, marked) if whole else None
    rows = [_row(*found) for found in eval_rows(marked)]
    return {
        "name": run.path.resolve().name,
        "state": row.state,
        "step": row.step,
        "num_steps": row.num_steps,
        "status": status_lines(run),
        "about": {} if config is None else _about(config),
        "marks": rows,
        "figures": [] if summary is None else _figures(summary),
        "totals": [] if summary is None else _totals(summary),
        "health": _health(config, metrics, marked),
        "notes": run.notes,
    }


def _about(config: RunConfig) -> dict[str, str]:
    teacher = config.teacher.serve.model if config.teacher.serve is not None else config.teacher.url
    return {
        "student": config.student.model,
        "teacher": str(teacher),
        "task": config.task.name,
        "policy": config.policy.name,
    }


def _row(label: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> dict[str, object]:
    first, last = None if before is None else interval_of(before), interval_of(after)
    return {
        "label": label,
        "before": _share(before),
        "before_interval": _interval(first),
        "after": _share(after),
        "after_interval": _interval(last),
        "words": "" if before is None or before["step"] == after["step"] else compared(first, last),
    }


def _share(record: Mapping[str, Any] | None) -> str:
    value = None if record is None else record.get("value")
    return DASH if value is None else f"{value:.1%}"


def _rate(value: float | None) -> str:
    return DASH if value is None else f"{value:.0%}"


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.1%} to {interval[1]:.1%}"


def _figures(summary: Summary) -> list[tuple[str, str, str]]:
    """Label, over the first tenth of the steps, over the last."""
    (loss, last_loss), (rate, last_rate) = summary.loss, summary.switch_rate
    place, last_place = (DASH if p is None else f"{p:.1f}" for p in summary.switch_position)
    first, last = summary.late_switch_rate
    late = [] if last is None else [(FIGURES["late_switch_rate"].label, _rate(first), _rate(last))]
    return [
        (FIGURES["loss"].label, f"{loss:.3f}", f"{last_loss:.3f}"),
        (FIGURES["switch_rate"].label, f"{rate:.0%}", f"{last_rate:.0%}"),
        (FIGURES["mean_switch_position"].label, place, last_place),
        *late,
    ]


def _totals(summary: Summary) -> list[tuple[str, str]]:
    """Label and amount, over the whole run: time by what it went into, and tokens by who handled them."""
    seconds = {PHASE_NAMES[name]: summary.seconds[name] for name in PHASE_NAMES} | {
        FIGURES["eval_s"].words: summary.seconds["eval_s"]
    }
    return [
        ("time", duration(sum(seconds.values()))),
        *((f"  {label}", duration(value)) for label, value in seconds.items()),
        *((_token_label(label), f"{summary.tokens[name]:,}") for name, label in TOKEN_NAMES.items()),
    ]


def _token_label(label: str) -> str:
    return label if label.startswith(" ") else f"tokens {label}"


def duration(seconds: float) -> str:
    """Seconds as people say them: ``8.4 s``, ``3 min 12 s``, ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def _health(config: RunConfig | None, metrics: Records, evals: Records) -> dict[str, object]:
    """What the run came to in sentences, what the switch shows or why nothing is said of it, who waited for whom."""
    if config is None:
        return {
            "found": [],
            "unknown": "the settings of the run cannot be read",
            "waits": None,
            "conclusion": [],
        }
    return asdict(examine(config, metrics, evals))
