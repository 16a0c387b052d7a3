"""``adaswitch.run_locally``: a whole run in this process, for scripts and notebooks."""

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TypeVar, get_args

from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError, DataError
from adaswitch.method.rollout import Rollout
from adaswitch.processes.entry import StopRequest
from adaswitch.runs.attempts import under_new_name
from adaswitch.runs.directory import CONFIG_FILE, NUMBER, NUMBER_OR_NONE, RunDirectory, read_records
from adaswitch.runs.recorded import shards_by_step, why_missing
from adaswitch.runs.shards import read_shard
from adaswitch.runs.words import run_of, what_is_saved
from experiments.engines import LocalEngine
from experiments.local import train_locally

Result = TypeVar("Result")
STOPPING = "stopping: the trainer finishes its step and saves what was trained"
IMPATIENT = "that is impatient: the step under way must end first, and what was trained is being saved"
POLL_S = 0.2
"""What is said on every further interrupt."""


@dataclass(frozen=True)
class LocalResult:
    """What a run in this process came to."""

    path: Path
    """The run directory, which ``adaswitch report`` and ``adaswitch inspect`` read."""
    complete: bool
    """Whether the run came to its end. If it was stopped, the same call goes on where it was."""
    checkpoint: Path | None
    """The newest checkpoint, a Hugging Face folder with the trained student; None if no step was done."""
    before: float | None
    """The main metric on the held-out prompts in the first evaluation, from 0 to 1; None without one."""
    after: float | None
    """The same in the last evaluation."""

    def rollouts(self, step: int) -> list[Rollout]:
        """The rollouts that optimizer step ``step``, counted from 0, was trained on.

        Raises ``DataError`` where none are kept of that step.
        """
        shards = shards_by_step(RunDirectory(self.path))
        if step not in shards:
            raise DataError(
                f"no rollouts of step {step} are kept; there are {len(shards)} steps"
                f"{why_missing(RunDirectory(self.path))}",
                source=str(self.path),
            )
        return read_shard(shards[step])


def run_locally(
    config: RunConfig, engine: LocalEngine = "transformers", *, new_name: bool = False
) -> LocalResult:
    """Distil by ``config`` in this process: no service, no Ray. The numbers are those of a synchronous served run.

    ``config.teacher.serve`` says which model the teacher is; ``engine`` is what the teacher runs on. Returns when the
    run is complete. A keyboard interrupt saves a checkpoint first; the next call with the same ``config.name`` goes on
    from there. Another interrupt changes nothing, which is said: a thread cannot be broken off. With ``new_name`` it
    begins another run, name-2, name-3, .., if there is a run of that name. It may be called where an event loop is
    running, as in a notebook. Raises ``AdaSwitchError``; what was trained is saved then.
    """
    if not isinstance(config, RunConfig):
        raise ConfigError(
            f"config is a {type(config).__name__}: make it with adaswitch.load_config or parse_config"
        )
    if engine not in get_args(LocalEngine):
        raise ConfigError(f"engine {engine!r} is none of {', '.join(get_args(LocalEngine))}")
    config = under_new_name(config) if new_name else config
    should_stop, run = StopRequest(), run_of(config)
    command = f"adaswitch.run_locally(adaswitch.load_config({str(run.path / CONFIG_FILE)!r}))"
    # In a thread of its own, since the caller's may have an event loop that is running, as a notebook's has.
    complete = _in_thread(
        lambda: train_locally(config, should_stop, engine, command=command), should_stop.request
    )
    marks, steps = _main_marks(run), run.checkpoint_steps()
    if not complete:
        print(f"stopped; {what_is_saved(run)}; go on with: {command}", flush=True)
    return LocalResult(
        path=run.path,
        complete=complete,
        checkpoint=run.checkpoint(steps[-1]) if steps else None,
        before=marks[0] if marks else None,
        after=marks[-1] if marks else None,
    )


def _main_marks(run: RunDirectory) -> list[float | None]:
    """The main metric of each evaluation: its first record, by rising step."""
    marks: dict[int, float | None] = {}
    for record in read_records(run.evals, {"step": NUMBER, "value": NUMBER_OR_NONE}):
        marks.setdefault(record["step"], record.get("value"))
    return list(marks.values())


def _in_thread(work: Callable[[], Result], stop: Callable[[], None]) -> Result:
    """The result of ``work``, done in a thread. Interrupts call ``stop``, and wait for the end of the work."""
    with _interrupts_call(stop), ThreadPoolExecutor(1, thread_name_prefix="local-run") as threads:
        future = threads.submit(work)
        # An interrupt that comes just before a wait begins is answered only when the wait is over.
        while not wait([future], POLL_S).done:
            pass
        return future.result()


@contextmanager
def _interrupts_call(stop: Callable[[], None]) -> Iterator[None]:
    """Let interrupts in the block be answered and call ``stop``, and raise nothing. Only the main thread has any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    words = STOPPING

    def answer(number: int, frame: FrameType | None) -> None:
        nonlocal words
        print(words, flush=True)
        words = IMPATIENT
        stop()

    before = signal.signal(signal.SIGINT, answer)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
