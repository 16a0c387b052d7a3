"""The tables of docs/paper.md: the memory of each recipe's parts, and the hours of its warm start, run and plan."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from adaswitch.config.fine_tuning import fine_tuning
from adaswitch.config.run import RunConfig
from adaswitch.runs.config_files import load_config
from bench.recipes.hours import GPU, GPUS, hours_of
from bench.recipes.memory import memory_of
from bench.recipes.tokens import LENGTHS
from experiments.plan import cells, load_plan

ROOT = Path(__file__).parents[2]


def recipes() -> list[Path]:
    """The config of each recipe."""
    return sorted((ROOT / "configs" / "paper").glob("*.yaml"))


def plan_of(recipe: Path) -> Path:
    """The plan that compares all methods of ``recipe``."""
    return ROOT / "experiments" / "plans" / f"paper-{recipe.name}"


def tables() -> str:
    """Both tables, as Markdown."""
    return "\n".join([*_memory(), "", *_hours(), ""])


def _memory() -> Iterator[str]:
    yield "| GiB | teacher on vLLM | student on vLLM | trainer | together |"
    yield "|---|---|---|---|---|"
    for recipe in recipes():
        config = load_config(recipe)
        memory = memory_of(config, LENGTHS[config.task.name])
        parts = (memory.teacher, memory.student, memory.trainer)
        yield f"| {recipe.stem} | {' | '.join(f'{part:.0f}' for part in (*parts, sum(parts)))} |"


def _hours() -> Iterator[str]:
    kinds = ("warm start", "AdaSwitch", "all methods")
    titles = " | ".join(f"{kind}, {gpu.name}" for gpu in GPUS for kind in kinds)
    yield f"| hours | {titles} |"
    yield f"|---|{'---|' * len(GPUS) * len(kinds)}"
    for recipe in recipes():
        config, plan = load_config(recipe), load_plan(plan_of(recipe))
        runs = [cell.config for cell in cells(plan.model_copy(update={"base": str(recipe)}))]
        figures = [figure for gpu in GPUS for figure in _hours_on(gpu, config, runs)]
        yield f"| {recipe.stem} | {' | '.join(figures)} |"


def _hours_on(gpu: GPU, config: RunConfig, runs: Sequence[RunConfig]) -> tuple[str, str, str]:
    """The hours of the warm start of ``config``, of its run, and of all ``runs`` of its plan."""
    lengths, warm = LENGTHS[config.task.name], _with_models(fine_tuning(config), config)
    first, second, *others = (hours_of(run, lengths, gpu) for run in (warm, config, *runs))
    return f"{first:.1f}", f"{second:.1f}", f"{sum(others):.0f}"


def _with_models(run: RunConfig, of: RunConfig) -> RunConfig:
    """The fine-tuning ``run`` with what names the models of the config that it is ``of``."""
    return run.model_copy(update={"warm_start": of.warm_start, "teacher": of.teacher})
