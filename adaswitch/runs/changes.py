"""Which settings of a run may change when it goes on, and a refusal of all others by name.

Everything that decides what a run computes stays as it was: the models, the data, the method, the seed. What may
change says where and how fast the run computes, how long, and what it writes down. ``docs/running.md`` has the list.
"""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError, DataError, UserError
from adaswitch.runs.directory import CONFIG_FILE, RunDirectory
from adaswitch.runs.recorded import resolve_config

MAY_CHANGE = (
    # where the run directory is
    "name",
    "runs_dir",
    # how long the run is
    "trainer.num_steps",
    "trainer.time_limit_s",
    # addresses, ports, and how long a part waits for another
    "teacher.url",
    "teacher.replicas",
    "teacher.api_key_env",
    "teacher.connect_timeout_s",
    "teacher.request_timeout_s",
    "teacher.max_wait_s",
    "teacher.serve",
    "trainer.rollout_timeout_s",
    "queue",
    "ray",
    # devices, and how the same work is divided
    "student.engine",
    "student.device",
    "student.num_actors",
    "student.num_gpus_per_actor",
    "student.kv_cache_gib",
    "student.kv_block_size",
    "student.gpu_memory_utilization",
    "student.enforce_eager",
    "student.num_threads",
    "student.group_size",
    "student.num_groups",
    "student.gather_window_s",
    "student.gather_requests",
    "policy.write_ahead",
    "trainer.device",
    "trainer.num_threads",
    "trainer.micro_batch_size",
    "trainer.micro_batch_tokens",
    "trainer.num_ranks",
    "trainer.rank_resources",
    "trainer.gradient_checkpointing",
    "trainer.compile",
    "trainer.eval_batch_size",
    "trainer.eval_by",
    # intervals, and what is kept
    "trainer.eval_every",
    "trainer.checkpoint_every",
    "trainer.keep_checkpoints",
    "trainer.save_rollouts",
    "trainer.resume",
    "trackers",
    # how the student was made, whose weights are known by their fingerprint
    "warm_start",
)
"""The settings that may change, each with all settings below it."""
MAY_NOT_CHANGE = (
    "teacher.serve.model",
    "teacher.serve.engine",
    "teacher.serve.dtype",
    "teacher.serve.speculative",
    "teacher.serve.speculative_tokens",
)
"""Settings below ``MAY_CHANGE`` that may not change all the same, unless the teacher moves elsewhere as a whole."""
MAX_VALUE_LENGTH = 60


class _Missing:
    def __repr__(self) -> str:
        return "absent"


MISSING = _Missing()


def require_same_settings(run: RunDirectory, config: RunConfig) -> list[str]:
    """Check that ``config`` goes on with what ``run`` was begun with. Returns what has changed and may change.

    Raises ``ConfigError`` with all settings that must not change, their old and their new values, in one line.
    """
    changed = dict(_changes(_stored(run), config.model_dump(mode="json")))
    refused = {path: values for path, values in changed.items() if not _may_change(path, *values)}
    if refused:
        steps = run.checkpoint_steps()
        weights = (
            f" (student.model={run.checkpoint(steps[-1])} starts it from these weights)" if steps else ""
        )
        raise ConfigError(
            f"{run.path} was begun with other settings: {', '.join(_described(refused))}: undo that, or begin another "
            f"run, with --new-name or another name{weights}"
        )
    told = _described({path: values for path, values in changed.items() if path not in ("name", "runs_dir")})
    if "trainer.num_steps" in changed and config.trainer.optimizer.schedule != "constant":
        told.append("the learning rate, which follows trainer.num_steps from here on")
    return told


def _stored(run: RunDirectory) -> dict[str, Any]:
    """The settings of the run's newest attempt, with what it has taken from earlier runs filled in."""
    file = run.path / CONFIG_FILE
    if not file.is_file():
        raise DataError(
            "this folder holds the records of a run, and no config.yaml: take another name",
            source=str(run.path),
        )
    config = run.settings()
    try:
        return resolve_config(config).model_dump(mode="json")
    except (
        UserError
    ):  # An earlier run that is gone, or another fault of the old settings, which is not asked for.
        return config.model_dump(mode="json")


def _changes(
    old: Mapping[str, Any], new: Mapping[str, Any], within: str = ""
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """The paths of all settings that differ, with both values.

    Of a group that has another kind now, the kind stands for all settings that only one of the kinds has.
    """
    other_kind = old.get("kind") != new.get("kind")
    for key in {**old, **new}:
        before, after = old.get(key, MISSING), new.get(key, MISSING)
        if other_kind and MISSING in (before, after):
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _changes(before, after, f"{within}{key}.")
        elif not _same(before, after):
            yield f"{within}{key}", (before, after)


def _same(before: object, after: object) -> bool:
    """Whether two values say the same. Paths may name one file or folder in different ways."""
    if isinstance(before, str) and isinstance(after, str) and before != after:
        return os.path.exists(before) and os.path.exists(after) and os.path.samefile(before, after)
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(_same, before, after))
    return before is after or (MISSING not in (before, after) and json.dumps(before) == json.dumps(after))


def _may_change(path: str, before: object, after: object) -> bool:
    if path in MAY_NOT_CHANGE:
        return False
    if path == "student.stop_token_ids" and before is None:
        return True  # a run of an older version, which did not record them
    return any(path == allowed or path.startswith(f"{allowed}.") for allowed in MAY_CHANGE)


def _described(changes: Mapping[str, tuple[object, object]]) -> list[str]:
    return [f"{path} (was {_text(old)}, now {_text(new)})" for path, (old, new) in changes.items()]


def _text(value: object) -> str:
    if value is MISSING:
        return repr(value)
    text = json.dumps(value)
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[: MAX_VALUE_LENGTH - 3]}..."
