"""The request to ``adaswitch eval``, from its options: the model, the prompts, and how they are answered."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from adaswitch.config.parsing import parse_config, with_overrides
from adaswitch.config.run import RunConfig
from adaswitch.config.threads import PROPER, is_num_threads
from adaswitch.errors import ConfigError
from adaswitch.runs.config_files import parse_override, read_yaml
from adaswitch.tasks import TASKS
from adaswitch.tasks.base import RecordTask, Task

DTYPES, DEVICES = ("float32", "bfloat16", "float16"), ("auto", "cpu", "cuda")
ENGINES = ("auto", "transformers", "vllm")


@dataclass(frozen=True)
class VLLMSettings:
    """How vLLM runs. The fields are those of ``StudentConfig``; None is the default there."""

    kv_cache_gib: float | None = None
    kv_block_size: int | None = None
    gpu_memory_utilization: float | None = None
    enforce_eager: bool | None = None

    def with_options(
        self, kv_cache_gib: float | None, gpu_memory_utilization: float | None
    ) -> "VLLMSettings":
        """The same, with the options that are given."""
        return replace(
            self,
            kv_cache_gib=kv_cache_gib or self.kv_cache_gib,
            gpu_memory_utilization=gpu_memory_utilization or self.gpu_memory_utilization,
        )


@dataclass(frozen=True)
class EvalRequest:
    """A model, the prompts that the model answers, and how it answers them."""

    model: str
    task: Task
    limit: int
    """The largest number of prompts. For chain arithmetic it is the number of prompts of each split."""
    max_new_tokens: int
    batch_size: int = 16
    num_samples: int = 1
    temperature: float = 0.0
    seed: int = 0
    dtype: str = "float32"
    device: str = "auto"
    num_threads: int | str = "auto"
    """The number of CPU threads; ``auto`` is all cores that this process may use, and fewer for a small model."""
    teacher: str | None = None
    """The teacher with which the model is compared, on the model's own completions and on the references."""
    output: Path | None = None
    """The folder in which results and completions are kept."""
    budget_setting: str = "--max-new-tokens"
    """The setting that gave ``max_new_tokens``, for messages."""
    stop_token_ids: list[int] | None = None
    """The tokens that end a completion; None for those that the model folder and the teachers name."""
    run_teacher: str | None = None
    """The teacher that the run's settings name, whose stop tokens count as well."""
    engine: str = "auto"
    """The library that writes; ``auto`` as for ``student.engine``."""
    vllm: VLLMSettings = VLLMSettings()

    def __post_init__(self) -> None:
        if self.num_samples > 1 and self.temperature == 0:
            raise ConfigError(
                f"--num-samples {self.num_samples}: at temperature 0 all of a prompt's completions are the same; "
                "set --temperature, as in --temperature 1"
            )
        if not math.isfinite(self.temperature):
            raise ConfigError(f"--temperature {self.temperature}: must be a number, 0 for greedy")
        if not is_num_threads(self.num_threads):
            raise ConfigError(f"--num-threads {self.num_threads}: {PROPER}")
        memory = (self.vllm.kv_cache_gib, self.vllm.gpu_memory_utilization)
        for option, size in zip(("--kv-cache-gib", "--gpu-memory-utilization"), memory, strict=True):
            if size is not None and not 0 < size < math.inf:
                raise ConfigError(f"{option} {size}: must be a number above 0")
        chosen = [("--dtype", self.dtype, DTYPES), ("--device", self.device, DEVICES)]
        chosen += [("--engine", self.engine, ENGINES)]
        for option, value, known in chosen:
            if value not in known:
                raise ConfigError(f"{option} {value}: must be one of {', '.join(known)}")


@dataclass(frozen=True)
class Prompts:
    """The choice of prompts: those of a run's config, or those of a task and a file.

    The other settings of a run's config are used too.
    """

    task: Task
    limit: int
    max_new_tokens: int
    stop_token_ids: list[int] | None = None
    run_teacher: str | None = None
    """The teacher that the run serves."""
    num_threads: int | str = "auto"
    """The CPU threads of the run's trainer."""
    engine: str = "auto"
    """The engine of the run's student."""
    vllm: VLLMSettings = VLLMSettings()
    """How the run's student has vLLM run."""


def choose_prompts(
    config: Path | None, kind: str | None, data: str | None, overrides: Sequence[str]
) -> Prompts:
    """The prompts by ``--config`` or by ``--task``. Raises ``ConfigError`` unless exactly one of them is given."""
    if (config is None) == (kind is None):
        raise ConfigError("give exactly one of --config (a run's settings) and --task (with --data)")
    if config is not None:
        return prompts_of_config(config, data, overrides)
    assert kind is not None
    return prompts_of_task(kind, data, overrides)


def prompts_of_config(config: Path, data: str | None, overrides: Sequence[str]) -> Prompts:
    """The held-out prompts of a run's config, with the same numbers of prompts and of tokens as the trainer uses.

    If ``data`` is given, the prompts come from this file instead. Raises ``ConfigError`` if there are no prompts.
    """
    changes = [parse_override(text) for text in overrides]
    if data is not None:
        changes.append(("task.eval", {"path": data}))
    run = parse_config(with_overrides(read_yaml(config), changes))
    if not run.task.has_held_out:
        raise ConfigError(f"task.eval: {config} names no held-out data: give it with --data FILE")
    serve = run.teacher.serve
    return Prompts(
        run.task,
        run.trainer.eval_prompts,
        run.student.max_new_tokens,
        run.student.stop_token_ids,
        None if serve is None else serve.model,
        run.trainer.num_threads,
        run.student.engine,
        VLLMSettings(**{field.name: getattr(run.student, field.name) for field in fields(VLLMSettings)}),
    )


def prompts_of_task(kind: str, data: str | None, overrides: Sequence[str]) -> Prompts:
    """The prompts of the task ``kind``, which may be a user's own task as ``module:Class``.

    If the task needs a file, ``data`` is that file. ``overrides`` are the task's own settings, as in
    ``prompt_field=question``. Raises ``ConfigError``.
    """
    path, known = (kind if ":" in kind else None), {task.model_fields["kind"].default: task for task in TASKS}
    document: dict[str, object] = {"kind": "custom", "path": path} if path else {"kind": kind}
    changes = with_overrides(document, [parse_override(text) for text in overrides])
    sources: dict[str, object] = {"train": {"path": data}, "eval": {"path": data}} if data is not None else {}
    if kind == "custom" or path:
        settings = changes.get("settings") or {}
        changes["settings"] = {**sources, **settings} if isinstance(settings, dict) else settings
    elif kind in known and not issubclass(known[kind], RecordTask):
        if data is not None:
            raise ConfigError(f"--data: prompts of the task {kind} are generated; leave it out")
    elif kind in known and data is None:
        raise ConfigError(f"--data: the task {kind} needs a file of records")
    else:
        changes = {**sources, **changes}
    run = _run_of_task(changes)
    if not run.task.has_held_out:
        raise ConfigError("task.eval: there is no held-out data: give it with --data FILE")
    return Prompts(run.task, sys.maxsize, run.task.default_new_tokens)


def _run_of_task(task: dict[str, object]) -> RunConfig:
    """The smallest run with ``task``, so that mistakes in the task are named as in a run's config."""
    return parse_config({"name": "eval", "task": task, "teacher": {}, "student": {"model": "none"}})
